"""The passes, in the order in which they run: this list is the compiler's middle.

Graph     --GRAPH_PASSES--> Graph       what is computed
Graph     --partition-----> Partition   what is computed together, and where results are stored
Partition --layout--------> Partition   in which order of axes
Partition --assemble------> Program     loop nests, scheduled; launches; memory
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tgc.ir.dtypes import BF16, I8, U8
from tgc.ir.graph import Graph, Node
from tgc.ir.interface import Interface
from tgc.ir.partition import Partition
from tgc.ir.program import Program
from tgc.ir.verify import verify_graph, verify_program
from tgc.passes.ahead import misfits
from tgc.passes.assemble import Scheduler, as_declared, assemble
from tgc.passes.bfloat import bfloat
from tgc.passes.branches import branches
from tgc.passes.centre import centre
from tgc.passes.check import check_bounds, check_graph, check_program
from tgc.passes.encode import encode
from tgc.passes.fold import fold
from tgc.passes.half_sums import marked
from tgc.passes.heuristic import scheduler_for
from tgc.passes.images import images
from tgc.passes.interface import split
from tgc.passes.keep_halos import keep_halos
from tgc.passes.layout import layout
from tgc.passes.merge_pads import merge_pads
from tgc.passes.partition import partition
from tgc.passes.pieces import pieces
from tgc.passes.polish import polisher_for
from tgc.passes.relax import WITH_SPECIAL_FUNCTIONS, WITHOUT, relax
from tgc.passes.scales import scales
from tgc.passes.segments import segments
from tgc.passes.siblings import siblings
from tgc.passes.signs import signs
from tgc.passes.strips import strips
from tgc.passes.twins import twins
from tgc.passes.whole_texels import whole_texels
from tgc.passes.widen import NARROW, widen
from tgc.passes.winograd import winograd
from tgc.targets import Target


@dataclass(frozen=True, slots=True)
class GraphPass:
    """A pass on graphs, by the name that `tgc opt --passes` takes."""

    name: str
    run: Callable[[Graph, Target], Graph]


def run_fold(graph: Graph, _: Target) -> Graph:
    """Compute now what depends on constants alone."""
    return fold(graph)


def run_merge_pads(graph: Graph, _: Target) -> Graph:
    """Make the paddings of one tensor slices of the largest."""
    return merge_pads(graph)


def run_widen(graph: Graph, target: Target) -> Graph:
    """Store half precision and compute single, on targets without arithmetic in half."""
    return widen(graph, (BF16,) if target.f16 else NARROW)


def run_encode(graph: Graph, _: Target) -> Graph:
    """Store floats and integers of 8 bits and less as bytes, and compute them in types that every target has."""
    return encode(graph)


def run_branches(graph: Graph, target: Target) -> Graph:
    """Compute sums of convolutions of one tensor as one convolution, where launches are dear."""
    return branches(graph) if target.images else graph


def run_strips(graph: Graph, target: Target) -> Graph:
    """Make large results that are only summed up again strip by strip, on targets where a loop costs little."""
    return graph if target.lanes else strips(graph, target.l2_bytes)


def run_winograd(graph: Graph, target: Target) -> Graph:
    """Compute convolutions of 3x3 with fewer products, where that pays."""
    return winograd(graph, target.winograd, target.l2_bytes, target.dot2 and target.precision == "bf16", target.images)


def run_centre(graph: Graph, target: Target) -> Graph:
    """Shift weights of nine bits until they are i8, where the target multiplies four bytes at a time."""
    return centre(graph) if target.dot4 or target.dot4s else graph


def run_signs(graph: Graph, target: Target) -> Graph:
    """Store bytes with the sign that the target multiplies, where it multiplies four at a time."""
    return signs(graph, U8 if target.dot4 else I8) if target.dot4 or target.dot4s else graph


def run_bfloat(graph: Graph, target: Target) -> Graph:
    """Round weights, and what is multiplied with them, to bfloat16, where that was asked for."""
    return bfloat(graph) if target.precision == "bf16" else graph


def run_twins(graph: Graph, target: Target) -> Graph:
    """Compute once, with one more axis, what two inputs go through alike, where launches are dear."""
    return twins(graph) if target.images else graph


def run_scales(graph: Graph, target: Target) -> Graph:
    """Scale what several parts are taken from, where launches are dear."""
    return scales(graph) if target.images else graph


def run_pieces(graph: Graph, target: Target) -> Graph:
    """Map what is put together piece by piece, where launches are dear."""
    return pieces(graph) if target.images else graph


def run_siblings(graph: Graph, target: Target) -> Graph:
    """Compute together what one tensor is multiplied with, where launches are dear."""
    return siblings(graph) if target.images else graph


def run_whole_texels(graph: Graph, target: Target) -> Graph:
    """Fill up sums with zeros to whole texels, where memory is read in texels."""
    return whole_texels(graph) if target.images else graph


def run_segments(graph: Graph, target: Target) -> Graph:
    """Compute together small products of constants and parts of vectors, where launches are dear."""
    return segments(graph) if target.images else graph


def run_relax(graph: Graph, target: Target) -> Graph:
    """Compute functions only as well as half or bfloat16 can tell, where results are stored in these."""
    if target.images and target.precision != "fp32":
        return relax(graph, WITH_SPECIAL_FUNCTIONS)
    return relax(graph, WITHOUT) if target.precision == "bf16" else graph


GRAPH_PASSES: tuple[GraphPass, ...] = (
    GraphPass("widen", run_widen),
    GraphPass("fold", run_fold),
    GraphPass("encode", run_encode),
    GraphPass("relax", run_relax),
    GraphPass("branches", run_branches),
    GraphPass("strips", run_strips),
    GraphPass("winograd", run_winograd),
    GraphPass("centre", run_centre),
    GraphPass("signs", run_signs),
    GraphPass("bfloat", run_bfloat),
    GraphPass("twins", run_twins),
    GraphPass("scales", run_scales),
    GraphPass("pieces", run_pieces),
    GraphPass("siblings", run_siblings),
    GraphPass("segments", run_segments),
    GraphPass("whole-texels", run_whole_texels),
    GraphPass("merge-pads", run_merge_pads),
)

Observer = Callable[[str, Graph | Program], None]
PLAIN = Interface()
"""One entry point that computes everything, and nothing kept."""


def compile_graph(
    graph: Graph,
    target: Target,
    *,
    interface: Interface = PLAIN,
    check: bool = False,
    observe: Observer | None = None,
    scheduler: Scheduler | None = None,
) -> Program:
    """The program that computes `graph` on `target`, with the states and entry points of `interface`.

    check: compare the graph after every pass, and the program, with the interpreter's answer on random inputs, and show every index (slow).
    observe: called with each pass's name and result. scheduler: in place of the heuristic.
    Raises InvalidIrError where a pass wrote something invalid.
    """
    meant = graph
    verify_graph(graph)
    for step in GRAPH_PASSES:
        before, graph = graph, step.run(graph, target)
        if graph is not before:
            verify_graph(graph)
        if check:
            check_graph(step.name, before, graph, 0.0 if target.images and step.run is not run_relax else target.rounding)
        if observe:
            observe(step.name, graph)
    program = as_declared(program_of(graph, target, interface, scheduler), meant)
    if check:
        verify_program(program)
        check_program(meant, interface, program, target.rounding)
    if observe:
        observe("program", program)
    if target.images:
        program = images(program, target)
        if check:
            verify_program(program)
            check_bounds(program)
        if observe:
            observe("images", program)
    return program


def program_of(graph: Graph, target: Target, interface: Interface = PLAIN, scheduler: Scheduler | None = None) -> Program:
    """The program that computes `graph` as it is: partitioned, laid out, and assembled of scheduled loop nests."""
    parts = [(name, laid_out(part, target)) for name, part in split(graph, interface)]
    program = assemble(parts, graph, interface, polisher_for(target), marked(scheduler or scheduler_for(target), target))
    return keep_halos(program) if target.lanes and not target.images else program


def laid_out(graph: Graph, target: Target) -> Partition:
    """The regions of `graph` with the order of axes chosen; short sums are computed where they are read, if their loops are fit for it."""
    apart = frozenset[Node]() if target.images else None
    while True:
        made = layout(partition(graph, texels=target.images, apart=apart), texels=target.images)
        unfit = frozenset[Node]() if apart is None else misfits(made, polisher_for(target), target)
        if apart is None or not unfit:
            return made
        apart |= unfit
