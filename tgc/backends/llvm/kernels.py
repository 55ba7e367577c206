"""A kernel as the text of one internal LLVM function: `void @name(ptr, ptr, ...)`, one pointer a parameter.

One whose work threads share has two more: `part`, which of `parts` parts is to be done, both of the index type.
"""

from __future__ import annotations

from tgc.backends.llvm.expressions import store, value
from tgc.backends.llvm.function import Buffers, Function, Known, Place, Scope
from tgc.backends.llvm.interleave import runs, store_interleaved
from tgc.backends.llvm.machine import Machine
from tgc.backends.llvm.values import index_bytes, memory_type
from tgc.errors import UnsupportedError
from tgc.ir.dtypes import INDEX
from tgc.ir.expr import Buffer, Expr
from tgc.ir.kernel import Alloc, Barrier, Block, For, If, Kernel, Statement, Store, shared_loop
from tgc.ir.rewrite import statements

KERNEL_ATTRIBUTES = "#0"
LOOP_METADATA = "!0"
_MOST_ALIGNED = 64


def print_kernel(kernel: Kernel, alignments: tuple[int, ...], machine: Machine) -> str:
    """`kernel` as an LLVM function. alignments: bytes that each argument is aligned to at every call, in order."""
    fn = Function(machine)
    heads: list[str] = []
    for number, (parameter, alignment) in enumerate(zip(kernel.parameters, alignments, strict=True)):
        buffer = parameter.buffer
        fn.places[buffer] = Place(f"%p{number}", alignment)
        access = {"read": " readonly", "write": " writeonly"}.get(parameter.access, "")
        size = buffer.size * _bytes(buffer, machine)
        heads.append(f"ptr noalias nofree captures(none){access} align {alignment} dereferenceable({size}) %p{number}")
    fn.shared = shared_loop(kernel.body)
    if fn.shared is not None:
        heads += [f"{machine.index} %part", f"{machine.index} %parts"]
    statement(fn, kernel.body)
    body = [*fn.allocas, *fn.scopes[0].lines]
    head = f"define internal void @{kernel.name}({', '.join(heads)}) {KERNEL_ATTRIBUTES} {{"
    return "\n".join([head, "entry:", *body, "  ret void", "}", ""])


def _bytes(buffer: Buffer, machine: Machine) -> int:
    return index_bytes(machine) if buffer.dtype == INDEX else buffer.dtype.bytes


def statement(fn: Function, node: Statement) -> None:
    """Writes `node` at the end of the innermost scope."""
    match node:
        case Block(body=body):
            for run in runs(body):
                if len(run) > 1:
                    store_interleaved(fn, [part for part in run if isinstance(part, Store)])
                else:
                    statement(fn, run[0])
        case For():
            _for(fn, node)
        case If(condition=condition, body=body):
            _if(fn, condition, body)
        case Alloc(buffer=buffer):
            _alloc(fn, buffer)
        case Store(buffer=buffer, index=index, value=stored):
            store(fn, buffer, index, stored)
        case Barrier():
            return


def _for(fn: Function, loop: For) -> None:
    """A loop that tests at its end, since its extent is known; none at all where it runs once or never.

    scope before; br loop
    loop:  %i = phi [0, before], [%next, latch]
           body
    latch: %next = %i + 1; br %next != extent, loop, done
    done:
    """
    if loop.kind not in ("serial", "kept", "parallel", "tailed"):
        raise UnsupportedError(f"a {loop.kind} loop has no meaning on a CPU")
    if loop.extent == 0:
        return
    fn.extents[loop.var] = loop.extent
    if loop is fn.shared:
        _shared(fn, loop)
        return
    if loop.extent == 1:
        _once(fn, loop)
        return
    fn.loops += 1
    label, variable, following = f"loop{fn.loops}", f"%i{fn.loops}", f"%next{fn.loops}"
    fn.remember(loop.var, Known(variable, fn.open(label, _writes(loop.body))))
    statement(fn, loop.body)
    _close_loop(fn, fn.close(), ("0", str(loop.extent)), label, variable, following)


def _shared(fn: Function, loop: For) -> None:
    """The loop's iterations that are `part`'s: extent * part / parts and so on, which may be none; of a tailed one the last two are one."""
    fn.loops += 1
    units, last = (loop.extent - 1, ".units") if loop.kind == "tailed" else (loop.extent, "")
    number, index = fn.loops, fn.machine.index
    label, variable, following = f"loop{number}", f"%i{number}", f"%next{number}"
    fn.scopes[-1].lines += [
        f"  %first{number}.of = mul {index} %part, {units}",
        f"  %first{number} = udiv {index} %first{number}.of, %parts",
        f"  %last{number}.of = add {index} %first{number}.of, {units}",
        f"  %last{number}{last} = udiv {index} %last{number}.of, %parts",
        *(_with_tail(number, index, units) if last else ()),
        f"  %any{number} = icmp ult {index} %first{number}, %last{number}",
        f"  br i1 %any{number}, label %some{number}, label %done{number}",
        f"some{number}:",
    ]
    fn.scopes[-1].label = f"some{number}"
    fn.remember(loop.var, Known(variable, fn.open(label, _writes(loop.body))))
    statement(fn, loop.body)
    _close_loop(fn, fn.close(), (f"%first{number}", f"%last{number}"), label, variable, following)


def _with_tail(number: int, index: str, units: int) -> list[str]:
    """The end of a part of a tailed loop: one further for the last part that has any."""
    return [
        f"  %tail{number}.is = icmp eq {index} %last{number}.units, {units}",
        f"  %tail{number} = zext i1 %tail{number}.is to {index}",
        f"  %last{number} = add {index} %last{number}.units, %tail{number}",
    ]


def _writes(body: Statement) -> Buffers:
    return frozenset(part.buffer for part in statements(body) if isinstance(part, Store))


def _once(fn: Function, loop: For) -> None:
    """The body with its variable 0, in a scope without a basic block of its own."""
    fn.remember(loop.var, Known("0", fn.open(fn.scopes[-1].label, _writes(loop.body))))
    statement(fn, loop.body)
    inner = fn.close()
    fn.scopes[-1].lines += inner.lines
    fn.scopes[-1].label = inner.label


def _close_loop(fn: Function, inner: Scope, bounds: tuple[str, str], label: str, variable: str, following: str) -> None:
    outer, index = fn.scopes[-1], fn.machine.index
    done = f"done{label.removeprefix('loop')}"
    outer.lines += [
        f"  br label %{label}",
        f"{label}:",
        f"  {variable} = phi {index} [ {bounds[0]}, %{outer.label} ], [ {following}, %{inner.label} ]",
        *inner.lines,
        f"  {following} = add nuw nsw {index} {variable}, 1",
        f"  %more{done} = icmp ne {index} {following}, {bounds[1]}",
        f"  br i1 %more{done}, label %{label}, label %{done}, !llvm.loop {LOOP_METADATA}",
        f"{done}:",
    ]
    outer.label = done


def _if(fn: Function, condition: Expr, body: Statement) -> None:
    test = value(fn, condition).text
    name = fn.name("")
    then, done = f"then{name}", f"done_if{name}"
    fn.open(then, _writes(body), conditional=True)
    statement(fn, body)
    inner = fn.close()
    outer = fn.scopes[-1]
    outer.lines += [f"  br i1 {test}, label %{then}, label %{done}", f"{then}:", *inner.lines, f"  br label %{done}", f"{done}:"]
    outer.label = done


def _alloc(fn: Function, buffer: Buffer) -> None:
    """Stack memory, made once a call; LLVM turns what is accessed at constant indices into registers."""
    if buffer in fn.places:
        return
    size = _bytes(buffer, fn.machine) * buffer.size
    alignment = min(_MOST_ALIGNED, 1 << max(0, size - 1).bit_length())
    name = fn.name("%r")
    fn.allocas.append(f"  {name} = alloca [{buffer.size} x {memory_type(buffer.dtype, fn.machine)}], align {alignment}")
    fn.places[buffer] = Place(name, alignment)
