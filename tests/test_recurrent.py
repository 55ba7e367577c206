"""RNN, GRU and LSTM with every option, against ONNX Runtime: the graph's meaning, and that of the program which is made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from single_operator import Array, agrees

import tgc
from tgc.errors import ModelError
from tgc.frontend_onnx import import_model
from tgc.ir.graph import Graph, Scan, ScanResult
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.program import Repeat
from tgc.ir.verify import verify_graph, verify_program
from tgc.passes import compile_graph
from tgc.targets import X86_V3

STEPS, BATCH, SIZE, HIDDEN = 4, 2, 3, 5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
NONE = np.zeros(0, np.float32)


def network(
    kind: str, *, bias: bool = True, lengths: Sequence[int] = (), initial: bool = False, peepholes: bool = False, outputs: str = "yhc",
    **attributes: object,
) -> tuple[onnx.ModelProto, dict[str, Array]]:  # fmt: skip
    """A model of one layer, X and the first states its inputs, and values for these."""
    rng = np.random.default_rng(7)
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[kind] * HIDDEN

    def normal(*shape: int) -> Array:
        return (rng.standard_normal(shape) * 0.5).astype(np.float32)

    shape = (BATCH, STEPS, SIZE) if attributes.get("layout") else (STEPS, BATCH, SIZE)
    states = (BATCH, directions, HIDDEN) if attributes.get("layout") else (directions, BATCH, HIDDEN)
    feeds = {"x": normal(*shape)}
    weights = {"w": normal(directions, rows, SIZE), "r": normal(directions, rows, HIDDEN)}
    names = ["x", "w", "r", "b" if bias else "", "lens" if lengths else ""]
    if bias:
        weights["b"] = normal(directions, 2 * rows)
    if lengths:
        weights["lens"] = np.array(lengths, np.int32)
    for name in ("h", "c")[: 1 + (kind == "LSTM")] if initial else ():
        feeds[name] = normal(*states)
        names.append(name)
    if peepholes:
        names += [""] * (7 - len(names)) + ["p"]
        weights["p"] = normal(directions, 3 * HIDDEN)
    made = [name if name in outputs else "" for name in ("y", "h", "c")[: 2 + (kind == "LSTM")]]
    results = [f"out_{name}" if name else "" for name in made]
    node = helper.make_node(kind, names, results, hidden_size=HIDDEN, **attributes)
    graph = helper.make_graph(
        [node], "net", [helper.make_tensor_value_info(n, 1, a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(n, 1, None) for n in results if n], [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), feeds


def compiles(graph: Graph, feeds: dict[str, Array]) -> None:
    """Asserts that the program of `graph` is valid and means the same."""
    verify_graph(graph)
    program = compile_graph(graph, X86_V3)
    verify_program(program)
    found = run_program(program, feeds)
    for name, wanted in run_graph(graph, feeds).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


OPTIONS: list[dict[str, object]] = [
    {},
    {"bias": False},
    {"initial": True},
    {"direction": "reverse", "initial": True},
    {"direction": "bidirectional", "initial": True},
    {"direction": "bidirectional", "outputs": "h"},
    {"lengths": [4, 2]},
    {"lengths": [1, 3], "direction": "bidirectional", "initial": True},
    {"clip": 0.3},
]


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options) or "plain")
def test_options_of_all_three(kind: str, options: dict[str, object]) -> None:
    model, feeds = network(kind, **options)  # type: ignore[arg-type]
    compiles(agrees(model, feeds), feeds)


SPECIAL: list[tuple[str, dict[str, object]]] = [
    ("GRU", {"linear_before_reset": 1}),
    ("GRU", {"linear_before_reset": 1, "direction": "bidirectional", "lengths": [3, 4], "initial": True}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"peepholes": True, "direction": "bidirectional", "initial": True, "clip": 0.5}),
    ("LSTM", {"input_forget": 1}),
    ("RNN", {"activations": ["Relu"]}),
    ("RNN", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.25]}),
    ("RNN", {"activations": ["LeakyRelu", "Elu"], "activation_alpha": [0.1, 0.7], "direction": "bidirectional"}),
    ("GRU", {"activations": ["HardSigmoid", "Softsign"]}),
    ("LSTM", {"activations": ["HardSigmoid", "ScaledTanh", "Softplus"], "activation_alpha": [0.25, 0.5], "activation_beta": [0.4, 0.9]}),
]


@pytest.mark.parametrize(("kind", "options"), SPECIAL, ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_special_options(kind: str, options: dict[str, object]) -> None:
    model, feeds = network(kind, **options)  # type: ignore[arg-type]
    compiles(agrees(model, feeds), feeds)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_layout_with_the_batch_first(kind: str) -> None:
    """Layout 1 is layout 0 with axes exchanged; ONNX Runtime does not have it."""
    (plain, feeds), (turned, _) = (network(kind, initial=True, layout=layout) for layout in (0, 1))
    results = run_graph(import_model(plain), feeds)
    others = {name: np.ascontiguousarray(value.swapaxes(0, 1)) for name, value in feeds.items()}
    graph = import_model(turned)
    found = run_graph(graph, others)
    np.testing.assert_allclose(found["out_y"], results["out_y"].transpose(2, 0, 1, 3), rtol=1e-5)
    np.testing.assert_allclose(found["out_h"], results["out_h"].swapaxes(0, 1), rtol=1e-5)
    compiles(graph, others)


def test_a_step_is_three_launches_and_the_input_product_is_outside() -> None:
    model, _ = network("LSTM")
    program = compile_graph(import_model(model), X86_V3)
    (loop,) = (step for step in program.steps if isinstance(step, Repeat))
    assert loop.count == STEPS
    assert len(loop.body) == 3


def test_one_step_needs_no_loop() -> None:
    model, feeds = network("GRU", initial=True)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    feeds["x"] = feeds["x"][:1]
    graph = agrees(model, feeds)
    assert not any(isinstance(node, ScanResult) for node in graph.nodes())


def test_weights_known_at_run_time_only() -> None:
    model, feeds = network("GRU", direction="bidirectional")
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    del model.graph.initializer[:]
    model.graph.input.extend(helper.make_tensor_value_info(name, 1, value.shape) for name, value in weights.items())
    compiles(agrees(model, feeds | weights), feeds | weights)


@pytest.mark.parametrize("target", ["cpu", "c"])
def test_compiled_code(target: str, tmp_path: object) -> None:
    model, feeds = network("LSTM", direction="bidirectional", lengths=[4, 3], initial=True)
    tgc.compile(model, target, str(tmp_path), name="net")
    found = tgc.load(str(tmp_path)).run(feeds)
    for name, wanted in run_graph(import_model(model), feeds).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


def test_a_state_too_large_for_a_history_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tgc.passes.loops.MOST_HISTORY", 0)
    model, feeds = network("LSTM", direction="bidirectional", initial=True)
    compiles(import_model(model), feeds)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"direction": "sideways"}, "direction is 'sideways'"), ({"activations": ["Swish"]}, "no activation 'swish'")],
)
def test_faults(attributes: dict[str, object], message: str) -> None:
    model, _ = network("RNN", **attributes)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        import_model(model)


def test_scans_are_equal_by_their_parts() -> None:
    graph = import_model(network("RNN")[0])
    scans = {node.scan for node in graph.nodes() if isinstance(node, ScanResult)}
    assert len(scans) == 1
    assert all(isinstance(scan, Scan) and scan.captured for scan in scans)
