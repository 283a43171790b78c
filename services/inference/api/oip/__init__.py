"""The Open Inference Protocol with Triton's extensions, as stock clients speak it."""
