"""Makes a relocatable WebAssembly object callable as it is, so that tests need no linker."""

from __future__ import annotations

from tgc.backends.llvm.symbols import leb128

_FUNCTIONS, _EXPORTS = 3, 7
_AFTER_EXPORTS = (8, 9, 12, 10, 11)


def with_run_exported(data: bytes) -> bytes:
    """`data`, which imports no functions, with its last function exported as "run"."""
    at = 8
    functions = 0
    while data[at] not in _AFTER_EXPORTS:
        size, start = leb128(data, at + 1)
        if data[at] == _FUNCTIONS:
            functions = leb128(data, start)[0]
        at = start + size
    body = b"\x01\x03run\x00" + _encoded(functions - 1)
    return data[:at] + bytes([_EXPORTS]) + _encoded(len(body)) + body + data[at:]


def _encoded(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)
