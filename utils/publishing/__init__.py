"""What others use of a model: its card, and its graph for ONNX Runtime."""
