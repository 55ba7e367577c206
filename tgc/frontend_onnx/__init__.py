"""ONNX models into graphs. `onnx` is imported here and nowhere below."""

from tgc.frontend_onnx.importer import import_model
from tgc.frontend_onnx.reading import names_to_pin, operators
from tgc.frontend_onnx.registry import Lowering, Registry, lowers, make_registry, standard_registry

__all__ = ["Lowering", "Registry", "import_model", "lowers", "make_registry", "names_to_pin", "operators", "standard_registry"]
