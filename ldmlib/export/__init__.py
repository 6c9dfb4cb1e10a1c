"""Models for other programs: diffusers folders and ONNX files."""
