"""A program as C99 source: NAME.c with the kernels and the order in which they run, and all that goes with it."""

from __future__ import annotations

from tgc.backends.c.dialect import C99
from tgc.backends.c.prelude import prelude
from tgc.backends.cfamily.expressions import Use
from tgc.backends.cfamily.statements import identifier, print_kernel
from tgc.backends.files import cpu_files, data_sources, fields, render
from tgc.backends.names import KEYWORDS, comment, entry_views
from tgc.backends.options import EmitOptions
from tgc.ir.kernel import Kernel
from tgc.ir.program import Argument, Call, EntryPoint, Program, Repeat, Step, Storage, Tensor, calls_of
from tgc.targets import Target


def emit(program: Program, target: Target, options: EmitOptions) -> dict[str, bytes]:
    """The artifact: file name -> bytes."""
    code = {f"{program.name}.c": source(program, target, options), **data_sources(program, options)}
    return cpu_files(program, target, options, code)


def source(program: Program, target: Target, options: EmitOptions) -> bytes:
    """NAME.c."""
    printed = [print_kernel(kernel, C99) for kernel in program.kernels]
    uses: dict[Use, None] = {use: None for kernel in printed for use in kernel.uses}
    return render(
        "model.c.j2", prelude=prelude(uses), kernels=[kernel.text for kernel in printed],
        bodies=[_body(program, entry) for entry in program.entry_points], run=entry_views(program)[0].function,
        tasks=[_task(kernel) for kernel in program.kernels if kernel.name in program.shared],
        **fields(program, target, options),
    )  # fmt: skip


def _task(kernel: Kernel) -> str:
    """The function that a pool calls for a part of `kernel`."""
    casts = [
        f"({'const ' if parameter.access == 'read' else ''}{C99.elements[parameter.buffer.dtype.name]} *)arguments[{number}]"
        for number, parameter in enumerate(kernel.parameters)
    ]
    head = f"static void {_task_name(kernel.name)}(void *argument, int32_t part, int32_t parts) {{"
    call = f"{kernel.name}({', '.join([*casts, 'part', 'parts'])});"
    return "\n".join([head, "  void *const *arguments = (void *const *)argument;", f"  {call}", "}"])


def _task_name(kernel: str) -> str:
    return f"{kernel}_task"


def _body(program: Program, entry: EntryPoint) -> list[str]:
    """The function that runs an entry point's kernels: a pointer for each piece of memory, then the calls."""
    called = [argument.storage for call in calls_of(entry.steps) for argument in call.arguments]
    used = [storage for storage in program.storages if storage.name in set(called)]
    roles = {storage.role for storage in used}
    names = _local_names(program, entry, used)
    places = (("weights", "weight"), ("arena", "arena"), ("inputs", "input"), ("outputs", "output"))
    unused = [f"(void){name};" for name, role in places if role not in roles]
    return [
        *unused,
        *(_pointer(program, storage, names[storage.name]) for storage in used),
        *([""] if used else []),
        *(line for step in entry.steps for line in _step(step, names, 0, program)),
    ]


def _local_names(program: Program, entry: EntryPoint, used: list[Storage]) -> dict[str, str]:
    taken = {*KEYWORDS, *(kernel.name for kernel in program.kernels), "weights", "arena", "inputs", "outputs"}
    taken |= {"parallel", f"{program.name}_share", *(_task_name(kernel) for kernel in program.shared)}
    taken |= {f"step{depth}" for depth in range(_depth(entry.steps))}
    names: dict[str, str] = {}
    for storage in used:
        names[storage.name] = identifier(storage.name, taken, C99.functions)
        taken.add(names[storage.name])
    return names


def _depth(steps: tuple[Step, ...]) -> int:
    """How many loops are around the innermost call."""
    return max((1 + _depth(step.body) for step in steps if isinstance(step, Repeat)), default=0)


def _pointer(program: Program, storage: Storage, name: str) -> str:
    """The declaration of a pointer to `storage`, with its shape and layout."""
    element = C99.elements[storage.dtype.name]
    constant = "const " if storage.role in ("input", "weight") else ""
    pointer = f"{constant}{element} *"
    match storage.role:
        case "input":
            value = f"inputs[{_position(program.inputs, storage)}]"
        case "output":
            value = f"outputs[{_position(program.outputs, storage)}]"
        case "weight":
            value = f"({pointer})((const char *)weights + {storage.offset})"
        case "arena":
            value = f"({pointer})((char *)arena + {storage.offset})"
    shape = "x".join(str(extent) for extent in storage.shape) or "scalar"
    return f"{pointer}{name} = {value}; /* {storage.dtype.name} {shape}, {comment(storage.layout)} */"


def _position(tensors: tuple[Tensor, ...], storage: Storage) -> int:
    return [tensor.storage for tensor in tensors].index(storage.name)


def _step(step: Step, names: dict[str, str], depth: int, program: Program) -> list[str]:
    match step:
        case Call():
            return _call(step, names, program)
        case Repeat(count, body):
            var = f"step{depth}"
            inner = [f"  {line}" for part in body for line in _step(part, names, depth + 1, program)]
            return [f"for (int64_t {var} = 0; {var} < {count}; ++{var}) {{", *inner, "}"]


def _call(call: Call, names: dict[str, str], program: Program) -> list[str]:
    arguments = ", ".join(_argument(argument, names) for argument in call.arguments)
    nodes = f" /* {comment(', '.join(call.origins))} */" if call.origins else ""
    if call.kernel in program.shared:
        pointers = ", ".join(f"(void *)(uintptr_t)({_argument(argument, names)})" for argument in call.arguments)
        return [f"{program.name}_share(parallel, {_task_name(call.kernel)}, (void *[]){{{pointers}}});{nodes}"]
    return [f"{call.kernel}({arguments});{nodes}"]


def _argument(argument: Argument, names: dict[str, str]) -> str:
    name = names[argument.storage]
    parts = [name, *([str(argument.start)] if argument.start else ())]
    parts += [f"step{depth} * {step}" for depth, step in enumerate(argument.steps) if step]
    return " + ".join(parts)
