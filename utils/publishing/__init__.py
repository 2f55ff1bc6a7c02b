"""What others use of a model: its card, its copy on the Hub, and its graph for ONNX Runtime."""
