"""What is read along one axis and stored in texels along another goes through a work-item in squares of four by four."""

import numpy as np
import pytest
from small_networks import Net
from test_backend_opencl import device

from tgc import targets
from tgc.backends.options import EmitOptions
from tgc.driver import emit
from tgc.ir import scalar as s
from tgc.ir.dtypes import F32, U8
from tgc.ir.expr import Arg
from tgc.ir.graph import Graph
from tgc.ir.interpret import run_graph, run_program
from tgc.passes import compile_graph
from tgc.run import load

QCOM = targets.find("qcom")


def camera(channels: int, height: int, width: int, *, u8: bool = True) -> Graph:
    """An image, normalised where it is of bytes, through a 3x3 convolution."""
    net = Net()
    x = net.input("x0", U8 if u8 else F32, (1, channels, height, width))
    net.inputs.append(x)
    scaled = net.map(s.mul(s.add(s.cast(Arg(0, U8), F32), -128.0), 0.015625), x) if u8 else x
    return net.graph(net.relu(net.conv(scaled, 8)))


def given(graph: Graph) -> dict[str, np.ndarray]:
    (x,) = graph.inputs
    return {x.name: np.random.default_rng(0).integers(0, 256, x.shape).astype(x.dtype.numpy)}


def text_of(graph: Graph) -> str:
    return emit(compile_graph(graph, QCOM), QCOM, EmitOptions())[f"{graph.name}.cl"].decode()


@pytest.mark.parametrize("u8", [True, False], ids=["u8", "f32"])
@pytest.mark.parametrize("channels", [4, 12])
def test_an_input_is_read_in_rows_and_stored_in_texels(channels: int, u8: bool) -> None:
    graph = camera(channels, 6, 8, u8=u8)
    text = text_of(graph)
    assert text.count("vload4(0, &a1[") == 4
    first = text[text.index("__kernel") :].split("\n}\n")[0]
    assert first.count("vstore_half4(") == 4
    expected, found = run_graph(graph, given(graph)), run_program(compile_graph(graph, QCOM), given(graph))
    assert np.abs(expected["y0"] - found["y0"]).max() < 1e-2 * np.abs(expected["y0"]).max()


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 12), (6, 7), (3, 10)])
def test_numbers_on_a_device(height: int, width: int, tmp_path) -> None:
    """Also where rows are no whole fours, and the elements are read one by one."""
    device()
    graph = camera(4, height, width)
    for name, content in emit(compile_graph(graph, QCOM), QCOM, EmitOptions()).items():
        (tmp_path / name).write_bytes(content)
    expected, found = run_graph(graph, given(graph)), load(tmp_path).run(given(graph))
    assert np.abs(expected["y0"] - found["y0"]).max() < 1e-2 * np.abs(expected["y0"]).max()
    assert ("vload4(0, &a1[" in text_of(graph)) == (width % 4 == 0)
