"""States and entry points, from ONNX to what runs: values fed back, windows moved on, parts of a model called by themselves."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tgc
from tgc.errors import OptionError, ToolchainError
from tgc.ir.interpret import run_program
from tgc.ir.program import Repeat, calls_of
from tgc.run.opencl import icd_loader

RNG = np.random.default_rng(0)
A, B, C = (RNG.standard_normal(shape).astype(np.float32) / 3 for shape in ((6, 8), (8, 8), (8, 5)))


def info(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def made(nodes: list, inputs: list, outputs: list, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    return helper.make_model(helper.make_graph(nodes, "net", inputs, outputs, tensors), opset_imports=[helper.make_opsetid("", 17)])


def recurrent() -> onnx.ModelProto:
    """hidden = tanh(x A + before B); scores = hidden C; both = [scores, hidden]."""
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["xa"]), helper.make_node("MatMul", ["before", "B"], ["hb"]),
        helper.make_node("Add", ["xa", "hb"], ["sum"]), helper.make_node("Tanh", ["sum"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "C"], ["scores"]), helper.make_node("Concat", ["scores", "hidden"], ["both"], axis=1),
    ]  # fmt: skip
    outputs = [info("scores", 1, 5), info("hidden", 1, 8), info("both", 1, 13)]
    return made(nodes, [info("x", 1, 6), info("before", 1, 8)], outputs, {"A": A, "B": B, "C": C})


def remembering() -> onnx.ModelProto:
    """total = the sum of the window's four rows and of x, of which it will be the newest; feature = x."""
    nodes = [
        helper.make_node("Identity", ["x"], ["feature"]), helper.make_node("ReduceSum", ["window", "axes"], ["old"], keepdims=0),
        helper.make_node("Squeeze", ["x", "axes"], ["row"]), helper.make_node("Add", ["old", "row"], ["total"]),
    ]  # fmt: skip
    outputs = [info("total", 1, 6), info("feature", 1, 1, 6)]
    return made(nodes, [info("x", 1, 1, 6), info("window", 1, 4, 6)], outputs, {"axes": np.array([1])})


def step(x: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    return np.tanh(x @ A + hidden @ B)


@pytest.fixture(params=["cpu", "c", "opencl", "qcom"])
def target(request) -> str:
    if request.param in ("opencl", "qcom"):
        try:
            icd_loader()
        except ToolchainError as error:
            pytest.skip(error.what)
    return request.param


def near(target: str) -> dict[str, float]:
    """What qcom rounds to half is further off."""
    return {"rtol": 0, "atol": 5e-3} if target == "qcom" else {"rtol": 1e-4, "atol": 1e-5}


FRAMES = [RNG.standard_normal((1, 6)).astype(np.float32) for _ in range(4)]


@pytest.mark.parametrize(("tied", "left"), [("hidden", ["scores", "both"]), ("both[:,5:]", ["scores", "hidden", "both"])])
def test_a_state_is_fed_back(target, tied, left, tmp_path):
    artifact = tgc.compile(recurrent(), target, tmp_path / "out", states={tied: "before"}, check_passes=True)
    model = tgc.load(tmp_path / "out")
    assert [tensor.name for tensor in model.inputs] == ["x"]
    assert [tensor.name for tensor in model.outputs] == left
    assert [tensor.name for tensor in model.states] == ["before"]
    assert artifact.program.state_bytes == 64
    for _ in range(2):
        hidden = np.zeros((1, 8), np.float32)
        for x in FRAMES:
            hidden = step(x, hidden)
            np.testing.assert_allclose(model.run({"x": x})["both"], np.concatenate([hidden @ C, hidden], 1), **near(target))
        model.reset()


def test_a_window_moves_on(target, tmp_path):
    tgc.compile(remembering(), target, tmp_path / "out", shifts={"feature": "window"}, check_passes=True)
    model = tgc.load(tmp_path / "out")
    rows = [np.zeros((1, 1, 6), np.float32)] * 4
    for number in range(7):
        x = np.full((1, 1, 6), number + 1, np.float32)
        rows = [*rows[-4:], x]
        np.testing.assert_allclose(model.run({"x": x})["total"], sum(rows)[:, 0])


def test_entry_points_share_state(target, tmp_path):
    entries = {"prepare": ["before"], "run": ["scores", "hidden"]}
    tied = {"hidden": "before"}
    artifact = tgc.compile(recurrent(), target, tmp_path / "out", states=tied, entries=entries, check_passes=True, selftest=True)
    model = tgc.load(tmp_path / "out")
    assert [(e.name, e.inputs, e.outputs) for e in model.entries] == [("run", ("x",), ("scores",)), ("prepare", ("x",), ())]
    hidden = np.zeros((1, 8), np.float32)
    for x in FRAMES[:3]:
        hidden = step(x, hidden)
        assert model.run({"x": x}, "prepare") == {}
    expected = step(FRAMES[3], hidden) @ C
    np.testing.assert_allclose(model.run({"x": FRAMES[3]})["scores"], expected, **near(target))
    assert model.selftest() is None
    run, prepare = artifact.program.entry_points
    done = [{origin for call in calls_of(entry.steps) for origin in call.origins} for entry in (prepare, run)]
    assert done[0] < done[1]
    names = [storage.name for storage in artifact.program.storages if storage.role == "weight"]
    assert len(names) == 3, "each weight once"


def test_several_models_are_one_program(target, tmp_path):
    """One model makes the features, another reads them in its next run."""
    first = made([helper.make_node("MatMul", ["x", "A"], ["feature"])], [info("x", 1, 6)], [info("feature", 1, 8)], {"A": A})
    second = made([helper.make_node("MatMul", ["given", "C"], ["plan"])], [info("given", 1, 8)], [info("plan", 1, 5)], {"C": C})
    entries = {"look": ["feature"], "run": ["plan"]}
    tgc.compile([first, second], target, tmp_path / "out", name="both", states={"feature": "given"}, entries=entries, check_passes=True)
    model = tgc.load(tmp_path / "out")
    assert not model.run({})["plan"].any()
    model.run({"x": FRAMES[0]}, "look")
    np.testing.assert_allclose(model.run({})["plan"], FRAMES[0] @ A @ C, **near(target))


def test_a_state_is_written_in_place_where_nothing_reads_it_later():
    """Two launches: hidden, which is a sum over the state, and a copy. One: a product that does not read the state at all."""
    nodes = [helper.make_node("MatMul", ["before", "B"], ["hidden"])]
    reading = made(nodes, [info("before", 1, 8)], [info("hidden", 1, 8)], {"B": B})
    assert len(list(calls_of(tgc.compile(reading, "c", states={"hidden": "before"}).program.steps))) == 2
    model = made([helper.make_node("Mul", ["x", "x"], ["y"])], [info("x", 4), info("kept", 4)], [info("y", 4)], {})
    assert len(list(calls_of(tgc.compile(model, "c", states={"y": "kept"}).program.steps))) == 1


def test_a_state_carried_through_a_loop():
    """A recurrent layer over three steps a frame: the state is where its loop begins, and becomes where it ends."""
    weights = {"W": A[None, :2, :2].copy(), "R": B[None, :2, :2].copy()}
    nodes = [helper.make_node("RNN", ["x", "W", "R", "", "", "before"], ["y", "after"], hidden_size=2)]
    model = made(nodes, [info("x", 3, 1, 2), info("before", 1, 1, 2)], [info("y", 3, 1, 1, 2), info("after", 1, 1, 2)], weights)
    program = tgc.compile(model, "c", states={"after": "before"}, check_passes=True).program
    assert any(isinstance(part, Repeat) for part in program.steps)
    states: dict[str, np.ndarray] = {}
    hidden = np.zeros((1, 2), np.float32)
    for x in np.split(RNG.standard_normal((9, 1, 2)).astype(np.float32), 3):
        found = run_program(program, {"x": x}, states=states)["y"]
        for row in range(3):
            hidden = np.tanh(x[row] @ weights["W"][0].T + hidden @ weights["R"][0].T)
            np.testing.assert_allclose(found[row, 0], hidden, rtol=1e-4, atol=1e-5)


def test_swapped_states():
    """Each state takes the other's value: neither may be overwritten before it is read."""
    nodes = [helper.make_node("Identity", ["b"], ["p"]), helper.make_node("Add", ["a", "x"], ["q"])]
    model = made(nodes, [info("a", 2), info("b", 2), info("x", 2)], [info("p", 2), info("q", 2)], {})
    program = tgc.compile(model, "c", states={"p": "a", "q": "b"}, check_passes=True).program
    states = {"a": np.array([1, 2], np.float32), "b": np.array([10, 20], np.float32)}
    run_program(program, {"x": np.array([1, 1], np.float32)}, states=states)
    assert states["a"].tolist() == [10, 20]
    assert states["b"].tolist() == [2, 3]


@pytest.mark.parametrize(("options", "said"), [
    ({"states": {"nothing": "before"}}, "there is no output 'nothing'"),
    ({"states": {"hidden": "nothing"}}, "there is no input 'nothing'"),
    ({"states": {"scores": "before"}}, r"scores is f32\[1, 5\], and before f32\[1, 8\]"),
    ({"states": {"both[:,20:]": "before"}}, "no part of an output of shape"),
    ({"states": {"both[0,0,0]": "before"}}, "no part of an output of shape"),
    ({"shifts": {"hidden": "x"}}, "no step of a window"),
    ({"states": {"hidden": "before", "both[:,5:]": "before"}}, "input 'before' is tied twice"),
    ({"entries": {"run": ["nothing"]}}, "neither an output nor a state"),
    ({"entries": {"init": ["scores"]}}, "cannot be called 'init'"),
    ({"entries": {"2": ["scores"]}}, "cannot be called '2'"),
])  # fmt: skip
def test_what_does_not_fit(options, said):
    with pytest.raises(OptionError, match=said):
        tgc.compile(recurrent(), "c", **options)


def test_models_that_contradict_each_other():
    one = made([helper.make_node("Neg", ["x"], ["y"])], [info("x", 2)], [info("y", 2)], {})
    other = made([helper.make_node("Neg", ["x"], ["z"])], [info("x", 3)], [info("z", 3)], {})
    with pytest.raises(OptionError, match="input 'x' of different types"):
        tgc.compile([one, other], "c")
    with pytest.raises(OptionError, match="two models have an output 'y'"):
        tgc.compile([one, one], "c")
