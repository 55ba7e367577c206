"""docs/ir.md is what the IR says of itself, and the examples in it parse."""

import inspect
from pathlib import Path

from tgc.ir import text_graph, text_kernel
from tgc.ir.document import document
from tgc.ir.ops import OPS
from tgc.ir.text import parse_graph, parse_kernel, print_graph, print_kernel

DOCUMENT = Path(__file__).parent.parent / "docs" / "ir.md"


def example(module: object) -> str:
    """The indented lines of a module's docstring."""
    lines = (inspect.getdoc(module) or "").splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("    ")) + "\n"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run: python -m tgc.ir.document > docs/ir.md"


def test_every_operation_is_in_it() -> None:
    for op in OPS:
        assert f"| `{op.name}` |" in document()


def test_the_examples_are_the_text_form() -> None:
    graph = parse_graph(example(text_graph), missing="zeros")
    assert print_graph(graph).count("\n") == example(text_graph).count("\n")
    assert print_kernel(parse_kernel(example(text_kernel))) == example(text_kernel)
