"""The verifier: raises InvalidIrError where IR breaks an invariant. The docstring of each function is the list of them.

It runs after every pass in tests and with `--check-passes`; what it accepts, every later pass and backend may rely on.
"""

from tgc.ir.verify_expression import verify_expression
from tgc.ir.verify_graph import verify_graph
from tgc.ir.verify_kernel import verify_kernel
from tgc.ir.verify_program import verify_program

__all__ = ["verify_expression", "verify_graph", "verify_kernel", "verify_program"]
