"""NVIDIA Triton as a model runtime, under explicit model control."""
