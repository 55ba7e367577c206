"""Kernels whose work threads share, as tasks of a `tgc_parallel` (templates/runtime/tgc_threads.h)."""

from __future__ import annotations

from tgc.backends.llvm.machine import Machine
from tgc.ir.kernel import Kernel
from tgc.ir.program import EntryPoint, Program

_SHARE = """define internal void @tgc.share(ptr %parallel, ptr %task, ptr %argument) #1 {
  %alone = icmp eq ptr %parallel, null
  br i1 %alone, label %one, label %many
one:
  call void %task(ptr %argument, i32 signext 0, i32 signext 1)
  ret void
many:
  %run = load ptr, ptr %parallel
  call void %run(ptr %parallel, ptr %task, ptr %argument)
  ret void
}
"""


def task_name(kernel: str) -> str:
    """The function that a pool calls for a part of `kernel`."""
    return f"{kernel}.task"


def print_tasks(program: Program, machine: Machine) -> list[str]:
    """`void @KERNEL.task(ptr arguments, i32 part, i32 parts)` for each shared kernel, and `@tgc.share`, which hands one to a pool."""
    if not program.shared:
        return []
    return [*(_task(kernel, machine) for kernel in program.kernels if kernel.name in program.shared), _SHARE]


def _task(kernel: Kernel, machine: Machine) -> str:
    lines = [f"define internal void @{task_name(kernel.name)}(ptr %arguments, i32 signext %part, i32 signext %parts) #1 {{"]
    for number in range(len(kernel.parameters)):
        lines.append(f"  %at{number} = getelementptr ptr, ptr %arguments, {machine.index} {number}")
        lines.append(f"  %p{number} = load ptr, ptr %at{number}")
    wide = {"%part": "%part", "%parts": "%parts"}
    if machine.index != "i32":
        for name in wide:
            lines.append(f"  {name}.wide = zext i32 {name} to {machine.index}")
            wide[name] = f"{name}.wide"
    pointers = [f"ptr %p{number}" for number in range(len(kernel.parameters))]
    numbers = [f"{machine.index} {wide[name]}" for name in wide]
    return "\n".join([*lines, f"  call void @{kernel.name}({', '.join([*pointers, *numbers])})", "  ret void", "}", ""])


def entry_without_threads(program: Program, entry: EntryPoint) -> str:
    """`NAME_ENTRY_kernels`, which does all parts itself."""
    name, arguments = f"{program.name}_{entry.name}", "ptr %weights, ptr %arena, ptr %inputs, ptr %outputs"
    return (
        f"define internal i32 @{name}_kernels({arguments}) #1 {{\n"
        f"  %status = call i32 @{name}_parts({arguments}, ptr null)\n  ret i32 %status\n}}\n"
    )
