"""How graphs are pruned: imports ONNX and its runtime."""
