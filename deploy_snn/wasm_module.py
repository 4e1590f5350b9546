"""The custom sections of a WebAssembly module: named bytes that do not take part in its execution.

Source: WebAssembly Core Specification 2.0, 5.5.2 (sections) and 5.5.3 (custom section).
"""

from collections.abc import Iterator

from deploy_snn.errors import InvalidInput

PREAMBLE = b"\0asm\1\0\0\0"
"""The magic number and version 1."""
CUSTOM = 0


def add_section(module: bytes, name: str, data: bytes) -> bytes:
    """The module with a custom section at its end."""
    encoded = name.encode()
    content = _unsigned(len(encoded)) + encoded + data
    return module + bytes([CUSTOM]) + _unsigned(len(content)) + content


def read_section(module: bytes, name: str) -> bytes:
    """The data of the first custom section of this name; b"" if there is none. Raises InvalidInput if it is no module."""
    if not module.startswith(PREAMBLE):
        raise InvalidInput("it does not begin as a WebAssembly module of version 1")
    return next((content for found, content in _custom_sections(module) if found == name.encode()), b"")


def _custom_sections(module: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PREAMBLE)
    while at < len(module):
        kind = module[at]
        size, start = _read_unsigned(module, at + 1)
        at = start + size
        if at > len(module):
            raise InvalidInput("a section of it is cut short")
        if kind == CUSTOM:
            length, begin = _read_unsigned(module, start)
            yield module[begin : begin + length], module[begin + length : at]


def _unsigned(value: int) -> bytes:
    """A number in LEB128: groups of 7 bits, lowest first."""
    groups = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        groups.append(low | (0x80 if value else 0))
        if not value:
            return bytes(groups)


def _read_unsigned(module: bytes, at: int) -> tuple[int, int]:
    """The number at an offset, and the offset behind it."""
    value = 0
    for group in range(5):  # 32 bits take at most 5 groups
        if at + group >= len(module):
            break
        byte = module[at + group]
        value |= (byte & 0x7F) << 7 * group
        if byte < 0x80:
            return value, at + group + 1
    raise InvalidInput("the size of a section cannot be read")
