"""docs/accuracy.md: each number in it is a bound that holds, and no function is missing."""

from __future__ import annotations

from pathlib import Path

import accuracy_table
import numpy as np
import pytest
from scalar_evaluation import evaluate, grid

from tgc.ir import scalar
from tgc.ir.dtypes import F32, F64, DType
from tgc.ir.expr import Arg
from tgc.passes.decompose import decompose

DOCUMENT = Path(__file__).parent.parent / "docs" / "accuracy.md"
TABLE = {cells[1].strip(): [cell.strip() for cell in cells[3:-1]] for cells in (
    line.split("|") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")) if cells[1].strip() != "function"}  # fmt: skip


def test_the_document_lists_every_function() -> None:
    assert list(TABLE) == [row.name for row in accuracy_table.ROWS]


@pytest.mark.parametrize("row", accuracy_table.ROWS, ids=lambda row: row.name)
def test_error_and_cost_are_within_the_document(row: accuracy_table.Row) -> None:
    plain, full, fused, *bounds = TABLE[row.name]
    expr = accuracy_table.build(row, F32)
    assert (int(plain), int(full), int(fused)) == (accuracy_table.operations(expr)[0], *accuracy_table.operations(decompose(expr)))
    given, out32, out64 = accuracy_table.errors(row)
    assert given <= float(bounds[0]) * 1.5 + 1  # numpy's own functions differ between processors
    assert out32 <= float(bounds[1])
    assert out64 <= float(bounds[2])


@pytest.mark.parametrize("contract", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_pow_error_grows_with_the_exponent_only(dtype: DType, contract: bool) -> None:
    random = np.random.default_rng(3)
    x = np.exp2(random.uniform(-20, 20, 20000)).astype(dtype.numpy)
    y = random.uniform(-5, 5, 20000).astype(dtype.numpy)
    exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    got = evaluate(decompose(scalar.pow(Arg(0, dtype), Arg(1, dtype))), [x, y], contract)
    error = np.abs(got - exact) / np.spacing(exact.astype(dtype.numpy))
    assert np.all(error <= 2 + 2 * np.abs(y * np.log2(x)))


@pytest.mark.parametrize("name", ["tanh", "erf", "sigmoid"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_bounded_functions_stay_in_their_range(name: str, dtype: DType) -> None:
    x = grid(dtype.numpy, -np.inf, np.inf)
    for contract in (False, True):
        y = evaluate(decompose(getattr(scalar, name)(Arg(0, dtype))), [x], contract)
        assert np.max(np.abs(y)) == 1
