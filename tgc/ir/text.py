"""The text form (`.tir`): graphs and kernels print and parse, programs and expressions print.

`tgc.ir.text_graph`, `text_kernel` and `text_expression` describe it, each beside what writes it. What is parsed is what was
printed, node for node; `parse_graph` and `parse_kernel` verify what they make, and raise ModelError with the line.
"""

from tgc.ir.text_expression import print_expr
from tgc.ir.text_graph import constants_of, print_graph
from tgc.ir.text_graph_parse import parse_graph
from tgc.ir.text_kernel import parse_kernel, print_kernel, print_statement
from tgc.ir.text_program import print_program

__all__ = ["constants_of", "parse_graph", "parse_kernel", "print_expr", "print_graph", "print_kernel", "print_program", "print_statement"]
