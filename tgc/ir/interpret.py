"""The interpreter: what graphs, kernels and programs mean, in numpy. Passes and backends are compared with it."""

from tgc.ir.interpret_graph import accumulator, evaluate, run_graph

__all__ = ["accumulator", "evaluate", "run_graph"]
