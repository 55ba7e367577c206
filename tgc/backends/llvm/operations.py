"""The scalar operations as LLVM instructions, on scalars and vectors alike. The table in `tgc.ir.ops` names most of them.

Floats: `contract` on additions and multiplications, so that a multiply-add becomes one instruction where there is one;
nothing else is relaxed. A float outside the range of the integer that it is cast to gives some value of that type
(`freeze`), never undefined behaviour.
"""

from __future__ import annotations

from tgc.backends.llvm import half
from tgc.backends.llvm.function import Put
from tgc.backends.llvm.machine import Machine
from tgc.backends.llvm.values import element_type, literal, require, splat, value_type, vector
from tgc.errors import InvalidIrError
from tgc.ir.dtypes import F32, INDEX, DType
from tgc.ir.expr import Apply, Expr, Lit

BYTES_IN_WORD = 4
_FLAGS = {"fadd": "fadd contract", "fmul": "fmul contract"}
_BOOL = {"ADD": "or", "MUL": "and", "MAX": "or", "AND": "and", "OR": "or", "XOR": "xor"}
_COMPARE = {
    "fcmp_ordered:<": "fcmp olt", "fcmp_ordered:==": "fcmp oeq", "icmp_signed:<": "icmp slt", "icmp_unsigned:<": "icmp ult",
    "icmp_signed:==": "icmp eq", "icmp_unsigned:==": "icmp eq",
}  # fmt: skip


def operation(put: Put, machine: Machine, expr: Apply, values: list[str]) -> str:
    """Writes `expr` on `values`, which all have its number of lanes (the condition of WHERE may stay scalar)."""
    source = expr.args[-1].dtype
    lanes = expr.lanes
    kind = value_type(source, lanes, machine)
    match expr.op.name:
        case "CAST":
            return cast(put, machine, values[0], source, expr.dtype, lanes)
        case "DOT4" | "DOT4S":
            return byte_products(put, machine, values, lanes, signed=expr.op.name == "DOT4S")
        case "DOT2":
            return bf16_products(put, machine, values, lanes)
        case "BITCAST":
            kind, wanted = value_type(source, expr.args[0].lanes, machine), value_type(expr.dtype, lanes, machine)
            return values[0] if wanted == kind else put(f"bitcast {kind} {values[0]} to {wanted}")
        case "WHERE":
            condition = vector("i1", expr.args[0].lanes)
            return put(f"select {condition} {values[0]}, {kind} {values[1]}, {kind} {values[2]}")
        case "DIV" if source.is_integer:
            return _divide(put, machine, expr, values)
        case "MAX" if source.is_float:
            return _float_maximum(put, machine, expr, values)
        case _:
            return _by_table(put, machine, expr, values)


def _by_table(put: Put, machine: Machine, expr: Apply, values: list[str]) -> str:
    source = expr.args[0].dtype
    require(source, machine, expr.op.name)
    kind = value_type(source, expr.lanes, machine)
    operands = ", ".join(values)
    if source.kind == "bool" and expr.op.name in _BOOL:
        return put(f"{_BOOL[expr.op.name]} {kind} {operands}")
    name = {"float": expr.op.llvm_float, "int": expr.op.llvm_int}.get(source.kind, expr.op.llvm_uint)
    if name in _COMPARE:
        return put(f"{_COMPARE[name]} {kind} {operands}")
    if name in ("llvm.sqrt", "smax", "umax"):
        return _intrinsic(put, name.removeprefix("llvm."), kind, values)
    if not name or name.startswith("llvm."):
        raise InvalidIrError(f"{expr.op} on {source} reaches the LLVM backend; `decompose` should have replaced it")
    if source == INDEX and name in ("add", "mul"):
        name = f"{name} nsw"
    return put(f"{_FLAGS.get(name, name.rstrip('_'))} {kind} {operands}")


def byte_products(put: Put, machine: Machine, values: list[str], lanes: int, signed: bool) -> str:
    """DOT4 or DOT4S: one instruction for a whole vector where the machine has it, else four multiplications."""
    kind = vector("i32", lanes)
    if signed and machine.signed_products and lanes * 32 == 128:
        bytes_ = vector("i8", 4 * lanes)
        operands = ", ".join([f"{kind} {values[0]}", *(f"{bytes_} {put(f'bitcast {kind} {word} to {bytes_}')}" for word in values[1:])])
        return put(f"call {kind} @llvm.aarch64.neon.sdot.v4i32.v16i8({operands})")
    if not signed and machine.byte_products and lanes * 32 in (128, 256, 512):
        bytes_ = vector("i8", 4 * lanes)
        operands = ", ".join([f"{kind} {values[0]}", *(f"{bytes_} {put(f'bitcast {kind} {word} to {bytes_}')}" for word in values[1:])])
        return put(f"call {kind} @llvm.x86.avx512.vpdpbusd.{lanes * 32}({operands})")
    total, left, right = values
    widen = "ashr" if signed else "lshr"
    for byte in range(BYTES_IN_WORD):
        up, down = splat("i32", str(24 - 8 * byte), lanes), splat("i32", "24", lanes)
        a, b = (put(f"{shift} {kind} {put(f'shl {kind} {word}, {up}')}, {down}") for shift, word in ((widen, left), ("ashr", right)))
        total = put(f"add {kind} {total}, {put(f'mul {kind} {a}, {b}')}")
    return total


def bf16_products(put: Put, machine: Machine, values: list[str], lanes: int) -> str:
    """DOT2: one instruction for a whole vector where the machine has it, else two multiply-adds."""
    floats, words = vector("float", lanes), vector("i32", lanes)
    total, left, right = values
    if machine.bf16_products and lanes * 32 in (128, 256, 512):
        halves = vector("bfloat", 2 * lanes)
        # the instruction can broadcast its last operand from memory, and it is the left one that is broadcast
        a, b = (put(f"bitcast {words} {word} to {halves}") for word in (right, left))
        return put(f"call {floats} @llvm.x86.avx512bf16.dpbf16ps.{lanes * 32}({floats} {total}, {halves} {a}, {halves} {b})")
    for part in (f"shl {words} {{}}, {splat('i32', '16', lanes)}", f"and {words} {{}}, {splat('i32', str(0xFFFF0000 - (1 << 32)), lanes)}"):
        a, b = (put(f"bitcast {words} {put(part.format(word))} to {floats}") for word in (left, right))
        total = put(f"fadd contract {floats} {total}, {put(f'fmul contract {floats} {a}, {b}')}")
    return total


def _intrinsic(put: Put, name: str, kind: str, values: list[str]) -> str:
    operands = ", ".join(f"{kind} {value}" for value in values)
    return put(f"call {kind} @llvm.{name}.{_mangled(kind)}({operands})")


def _mangled(kind: str) -> str:
    """The suffix by which an intrinsic's name tells its type: `<4 x float>` is v4f32."""
    count, _, element = kind.strip("<>").rpartition(" x ")
    short = {"float": "f32", "double": "f64", "half": "f16"}.get(element, element)
    return f"v{count}{short}" if count else short


def never_nan(expr: Expr) -> bool:
    """Whether `expr` is a constant other than NaN, whatever its lanes."""
    value = expr if isinstance(expr, Lit) else getattr(expr, "value", None)
    return isinstance(value, Lit) and value.value == value.value


def _float_maximum(put: Put, machine: Machine, expr: Apply, values: list[str]) -> str:
    """With a > b ? a : b, one instruction on x86, a NaN gives b; so a NaN in a has to be put back, unless a is a constant."""
    source = expr.args[0].dtype
    require(source, machine, "MAX")
    kind = value_type(source, expr.lanes, machine)
    mask = vector("i1", expr.lanes)
    if machine.native_maximum:
        return _intrinsic(put, "maximum", kind, values)
    a, b = values if never_nan(expr.args[0]) else reversed(values)
    larger = put(f"fcmp ogt {kind} {a}, {b}")
    chosen = put(f"select {mask} {larger}, {kind} {a}, {kind} {b}")
    if any(never_nan(arg) for arg in expr.args):
        return chosen
    nan = put(f"fcmp uno {kind} {a}, {a}")
    return put(f"select {mask} {nan}, {kind} {a}, {kind} {chosen}")


def _divide(put: Put, machine: Machine, expr: Apply, values: list[str]) -> str:
    """Toward zero. A divisor that is not a constant is kept from trapping: a / 0 is a, and the quotient by -1 wraps."""
    source, lanes = expr.args[0].dtype, expr.lanes
    signed = source.kind == "int"
    kind, element = value_type(source, lanes, machine), element_type(source, machine)
    name = "sdiv" if signed else "udiv"
    a, b = values
    if never_nan(expr.args[1]) and b not in (splat(element, "0", lanes), splat(element, "-1", lanes)):
        return put(f"{name} {kind} {a}, {b}")
    mask = vector("i1", lanes)
    one, minus_one, zero = (splat(element, text, lanes) for text in ("1", "-1", "0"))
    is_zero = put(f"icmp eq {kind} {b}, {zero}")
    unsafe = put(f"or {mask} {is_zero}, {put(f'icmp eq {kind} {b}, {minus_one}')}") if signed else is_zero
    safe = put(f"select {mask} {unsafe}, {kind} {one}, {kind} {b}")
    quotient = put(f"{name} {kind} {a}, {safe}")
    if not signed:
        return quotient
    negated = put(f"sub {kind} {zero}, {a}")
    return put(f"select {mask} {put(f'icmp eq {kind} {b}, {minus_one}')}, {kind} {negated}, {kind} {quotient}")


def cast(put: Put, machine: Machine, value: str, source: DType, target: DType, lanes: int) -> str:
    """`value` of type `source` as `target`."""
    if source.name in ("f16", "bf16"):
        wide = _widen(put, machine, value, source, lanes)
        return wide if target == F32 else cast(put, machine, wide, F32, target, lanes)
    if target.name in ("f16", "bf16"):
        return _narrow(put, machine, value, source, target, lanes)
    before, after = value_type(source, lanes, machine), value_type(target, lanes, machine)
    if target.kind == "bool":
        zero = literal(Lit(0, source), lanes, machine)
        return put(f"{'fcmp une' if source.is_float else 'icmp ne'} {before} {value}, {zero}")
    if source.is_float:
        return _from_float(put, machine, value, source, target, lanes)
    if target.is_float:
        return put(f"{'sitofp' if source.kind == 'int' else 'uitofp'} {before} {value} to {after}")
    return _between_integers(put, value, source, before, after)


def _bits(kind: str) -> int:
    return int(kind.strip("<>").split(" x ")[-1].removeprefix("i"))


def _between_integers(put: Put, value: str, source: DType, before: str, after: str) -> str:
    if before == after:
        return value
    if _bits(after) < _bits(before):
        return put(f"trunc {before} {value} to {after}")
    return put(f"{'sext' if source.kind == 'int' else 'zext'} {before} {value} to {after}")


def _from_float(put: Put, machine: Machine, value: str, source: DType, target: DType, lanes: int) -> str:
    """Float to float, or to an integer: by way of 32 bits where it is narrower, so that it wraps."""
    before, after = value_type(source, lanes, machine), value_type(target, lanes, machine)
    if target.is_float:
        if before == after:
            return value
        return put(f"{'fpext' if target.bits > source.bits else 'fptrunc'} {before} {value} to {after}")
    signed = target.kind == "int" or target.bits < 32
    whole = vector("i32", lanes) if target.bits < 32 else after
    number = put(f"{'fptosi' if signed else 'fptoui'} {before} {value} to {whole}")
    number = put(f"freeze {whole} {number}")
    return number if whole == after else put(f"trunc {whole} {number} to {after}")


def _widen(put: Put, machine: Machine, value: str, source: DType, lanes: int) -> str:
    """f16 or bf16 as f32, which is exact."""
    if source.name == "bf16":
        return half.bf16_to_float(put, value, lanes)
    if not machine.native_half:
        return half.f16_to_float(put, value, lanes)
    return put(f"fpext {vector('half', lanes)} {value} to {vector('float', lanes)}")


def _narrow(put: Put, machine: Machine, value: str, source: DType, target: DType, lanes: int) -> str:
    """Any type as f16 or bf16, rounded once."""
    if source == target:
        return value
    if source.name == "f64":
        value = half.double_to_odd_float(put, value, lanes)
    elif source != F32:
        value = cast(put, machine, value, source, F32, lanes)
    if target.name == "bf16":
        return half.float_to_bf16(put, value, lanes)
    if not machine.native_half:
        return half.float_to_f16(put, value, lanes)
    return put(f"fptrunc {vector('float', lanes)} {value} to {vector('half', lanes)}")
