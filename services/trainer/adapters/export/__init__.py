"""A trained model as a version's bundle: one ONNX graph and the documents beside it."""
