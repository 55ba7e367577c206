"""The ONNX operators, by topic. A file here is all it takes: the registry imports every one of them."""
