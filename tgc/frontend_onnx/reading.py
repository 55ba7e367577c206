"""A model file into a ModelProto, with an error that a person can act on for everything that is not one."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError

from tgc.errors import ModelError, UnsupportedError

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
    if model.ir_version == 0 or not model.HasField("graph") or not model.graph.output:
        raise ModelError("is not an ONNX model: it has no version, no graph or no outputs", where, "download or export it again")
    if not model.opset_import:
        raise ModelError("the model does not say which opset it uses", where, "export it again with an opset_import")
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            hint = "update the onnx package, or export to an older opset"
            raise UnsupportedError(f"opset {entry.version}: the onnx package here knows 1 to {newest}", where, hint)
