"""A model file into a ModelProto, with an error that a person can act on for everything that is not one."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from tgc.errors import ModelError, UnsupportedError
from tgc.frontend_onnx.structure import origin_of

_NOT_A_MODEL = (DecodeError, text_format.ParseError, json_format.ParseError, onnx.parser.ParseError, ValueError)


def read_model(path: Path) -> onnx.ModelProto:
    """The model in `path`: protobuf, or the text forms that `onnx.load` tells by the file's suffix. Weights kept outside stay there.

    Raises ModelError for a file that is missing, unreadable, empty or not a model.
    """
    if path.is_dir():
        found = sorted(p.name for p in path.glob("*.onnx"))
        raise ModelError("is a folder, not a model file", str(path), f"name a file in it: {', '.join(found)}" if found else "")
    if not path.is_file():
        raise ModelError("there is no such file", str(path))
    if path.stat().st_size == 0:
        raise ModelError("the file is empty", str(path))
    try:
        model = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", str(path)) from error
    except _NOT_A_MODEL as error:
        raise ModelError("is not an ONNX model, or is truncated", str(path), "download or export it again") from error
    require_model(model, str(path))
    return model


def require_model(model: onnx.ModelProto, where: str) -> None:
    """Raises ModelError where `model` is a message without the parts that make a model, UnsupportedError for a newer opset.

    A foreign file often decodes as a message whose fields are all unknown or missing.
    """
    _require_text(model, where)
    if model.ir_version == 0 or not model.HasField("graph") or not model.graph.output:
        raise ModelError("is not an ONNX model: it has no version, no graph or no outputs", where, "download or export it again")
    if not model.opset_import:
        raise ModelError("the model does not say which opset it uses", where, "export it again with an opset_import")
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            hint = "update the onnx package, or export to an older opset"
            raise UnsupportedError(f"opset {entry.version}: the onnx package here knows 1 to {newest}", where, hint)


def _require_text(model: Message, where: str) -> None:
    """Raises ModelError where a name in `model` is not UTF-8: the protobuf reader does not look, and whoever reads it later fails."""
    pending = [model]
    try:
        while pending:
            for field, value in pending.pop().ListFields():
                many = field.is_repeated if hasattr(field, "is_repeated") else field.label == FieldDescriptor.LABEL_REPEATED
                if field.type == FieldDescriptor.TYPE_MESSAGE:
                    pending.extend(value if many else [value])
                elif field.type == FieldDescriptor.TYPE_STRING and any(isinstance(text, bytes) for text in (value if many else [value])):
                    raise ModelError(f"field {field.name!r} is not UTF-8 text", where, "download or export it again")
    except UnicodeDecodeError as error:
        raise ModelError("a name in it is not UTF-8 text", where, "download or export it again") from error


def names_to_pin(source: str | Path | onnx.ModelProto) -> frozenset[str]:
    """The names of a model's inputs and of their symbolic dimensions."""
    model = source if isinstance(source, onnx.ModelProto) else read_model(Path(source))
    dims = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    return frozenset({value.name for value in model.graph.input} | dims)


def operators(path: Path) -> tuple[tuple[str, str], ...]:
    """Each node of the model file's graph, in order: what tgc calls it, and its operator."""
    nodes = read_model(path).graph.node
    return tuple((origin_of(node), f"{node.domain}.{node.op_type}" if node.domain else node.op_type) for node in nodes)
