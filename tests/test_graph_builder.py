"""What the graph builder leaves out, and what it copies."""

from __future__ import annotations

import numpy as np

from tgc.ir.dtypes import F32
from tgc.ir.graph import Permute, Window
from tgc.ir.graph_builder import GraphBuilder
from tgc.ir.interpret import evaluate


def test_permutes_become_one() -> None:
    builder = GraphBuilder()
    source = builder.constant(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    twice = builder.permute(builder.permute(source, (2, 0, 1)), (1, 0, 2))
    assert isinstance(twice, Permute)
    assert twice.source is source
    assert np.array_equal(evaluate(twice), source.data.transpose(2, 0, 1).transpose(1, 0, 2))
    assert builder.permute(builder.permute(source, (2, 0, 1)), (1, 2, 0)) is source


def test_data_that_can_change_is_copied() -> None:
    builder = GraphBuilder()
    data = np.zeros(4, np.float32)
    view = data[:]
    view.flags.writeable = False  # `data` can still be written
    made = builder.constant(view)
    data[0] = 1
    assert made.data[0] == 0
    assert made.dtype == F32
    assert not made.data.flags.writeable


def test_data_that_cannot_change_is_not_copied() -> None:
    data = np.frombuffer(bytes(16), np.float32).reshape(2, 2)
    assert GraphBuilder().constant(data).data is data
    transposed = data.T
    assert GraphBuilder().constant(transposed).data.flags.c_contiguous


def test_a_window_of_one_element_is_a_reshape() -> None:
    builder = GraphBuilder()
    source = builder.input("x", F32, (2, 3))
    assert builder.window(source, 0, 1) is builder.reshape(source, (2, 3, 1))
    assert isinstance(builder.window(source, 1, 1, 2), Window)
