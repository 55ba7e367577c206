"""Which symbols an object file leaves to others. A compiled model must leave none: it runs without libc, libm or libgcc.

ELF (System V ABI, "Symbol Table") and WebAssembly objects ("Modules", import section) are read here, so that no tool is needed.
"""

from __future__ import annotations

import struct

from tgc.errors import InvalidIrError

_WASM_FUNCTION_IMPORT, _WASM_IMPORTS = 0, 2
_ELF_SYMBOL_TABLE = 2


def undefined_symbols(data: bytes) -> list[str]:
    """Names, in the object's order, of functions and data that `data` refers to and does not define.

    WebAssembly's memory, stack pointer and function table come from its linker by definition and are not listed.
    """
    if data[:4] == b"\x7fELF":
        return _elf(data)
    if data[:4] == b"\0asm":
        return _wasm(data)
    raise InvalidIrError("neither an ELF nor a WebAssembly object")


def _elf(data: bytes) -> list[str]:
    """Symbols in section 0, of little-endian 64-bit ELF."""
    (table,) = struct.unpack_from("<Q", data, 40)
    entry_size, count = struct.unpack_from("<HH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * entry_size) for i in range(count)]
    names: list[str] = []
    for header in headers:
        _, kind, _, _, offset, size, link, _, _, entry = header
        if kind != _ELF_SYMBOL_TABLE:
            continue
        strings = headers[link][4]
        for at in range(offset, offset + size, entry):
            name, _, _, section, _, _ = struct.unpack_from("<IBBHQQ", data, at)
            if section == 0 and name:
                names.append(data[strings + name : data.index(b"\0", strings + name)].decode())
    return names


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _wasm(data: bytes) -> list[str]:
    """Imported functions and, from the linking section's symbols, nothing else: data has to be defined to be linked."""
    at = 8
    while at < len(data):
        kind = data[at]
        size, start = leb128(data, at + 1)
        if kind == _WASM_IMPORTS:
            return _wasm_imports(data, start)
        at = start + size
    return []


def _wasm_imports(data: bytes, at: int) -> list[str]:
    count, at = leb128(data, at)
    names: list[str] = []
    for _ in range(count):
        length, at = leb128(data, at)
        at += length
        length, at = leb128(data, at)
        name, at = data[at : at + length].decode(), at + length
        kind = data[at]
        if kind == _WASM_FUNCTION_IMPORT:
            names.append(name)
        at = _skip_import(data, at + 1, kind)
    return names


def _skip_import(data: bytes, at: int, kind: int) -> int:
    """Past the description of a function, table, memory, global or tag."""
    match kind:
        case 0:
            return leb128(data, at)[1]
        case 3:
            return at + 2
        case 4:
            return leb128(data, at + 1)[1]
        case _:
            at = at + 1 if kind == 1 else at
            flags, at = leb128(data, at)
            at = leb128(data, at)[1]
            return leb128(data, at)[1] if flags & 1 else at
