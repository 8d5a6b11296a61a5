"""How ONNX and TFLite files are laid out: reading them safely, and drafts of new ones. No torch."""
