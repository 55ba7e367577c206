"""Random graphs through the whole compiler, against the interpreter of graphs.

Small ones for several targets through the interpreter of programs, which finds every access outside of a buffer and every
read of what nothing has written; larger ones through the LLVM backend on this machine. More seeds by hand:

    python tests/test_random_graphs.py FIRST LAST [SIZE]
"""

import sys
from collections.abc import Mapping

import numpy as np
import pytest
from llvm_programs import run_native
from random_graphs import Case, random_graph

from tgc.driver import resolve
from tgc.ir.interpret import run_graph, run_program
from tgc.ir.text import print_graph
from tgc.ir.verify import verify_graph, verify_program
from tgc.passes import compile_graph
from tgc.targets import OPENCL, RISCV64, X86_V3, X86_V4, Target

TARGETS = (X86_V3, X86_V4, RISCV64, OPENCL)


def check(case: Case, found: Mapping[str, np.ndarray]) -> None:
    """The outputs are what the interpreter of graphs says, to the bit where the arithmetic is exact."""
    for name, expected in run_graph(case.graph, case.inputs).items():
        actual, tolerance = found[name], case.tolerances[name]
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind not in "iub":
            actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=f"{name} of\n{print_graph(case.graph)}")


def interpret(case: Case, target: Target) -> None:
    verify_graph(case.graph)
    program = compile_graph(case.graph, target)
    verify_program(program)
    check(case, run_program(program, case.inputs))


def execute(case: Case) -> None:
    program = compile_graph(case.graph, resolve("cpu"))
    verify_program(program)
    check(case, run_native(program, case.inputs))


@pytest.mark.parametrize("seed", range(60))
def test_small_graphs_in_the_interpreter(seed: int) -> None:
    for target in TARGETS:
        interpret(random_graph(seed), target)


@pytest.mark.parametrize("seed", range(1000, 1040))
def test_larger_graphs_on_this_machine(seed: int) -> None:
    execute(random_graph(seed, size=16, nodes=12))


def main(first: int, last: int, size: int) -> None:
    failed = 0
    for seed in range(first, last):
        try:
            if size < 8:
                for target in TARGETS:
                    interpret(random_graph(seed, size=size), target)
            else:
                execute(random_graph(seed, size=size, nodes=12))
        except Exception as error:
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error).strip().splitlines()[0]}", flush=True)
    print(f"{failed} of {last - first} failed")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5)
