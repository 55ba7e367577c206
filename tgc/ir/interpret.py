"""The interpreter: what graphs, kernels and programs mean, in numpy. Passes and backends are compared with it."""

from tgc.ir.interpret_graph import accumulator, evaluate, run_graph
from tgc.ir.interpret_kernel import run_kernel
from tgc.ir.interpret_program import run_program

__all__ = ["accumulator", "evaluate", "run_graph", "run_kernel", "run_program"]
