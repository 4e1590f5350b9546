"""C identifiers and texts from names that may hold anything."""

import re
from collections.abc import Iterable

KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while alignas alignof bool
    constexpr false nullptr static_assert thread_local true typeof asm and or not xor class new delete this template
    namespace operator private public protected virtual try catch throw using
    """.split()  # noqa: SIM905
)
"""The keywords of C99, of later versions and of C++, which may include the header."""

RESERVED = KEYWORDS | frozenset(
    """
    any i0 i1 i2 i3 k0 k1 k2 o0 o1 o2 p0 p1 p2 i j k n r t o c z w sum best index count rows at steps step state states
    inputs outputs events from to memory work weights list sums value place channel first last row shared size
    NULL NAN INFINITY HUGE_VAL isnan isinf signbit linux unix i386 main errno assert
    memcpy memset memmove expf logf sqrtf tanhf fabsf floorf ceilf rintf size_t
    int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
    """.split()  # noqa: SIM905
)
"""The names that generated code and its headers use."""


def identifier(name: str) -> str:
    """A C identifier: ASCII letters, digits and underscores. Names that differ may give the same one."""
    text = "".join(c if re.fullmatch(r"[A-Za-z0-9_]", c) else "_" if c.isascii() else f"u{ord(c):x}" for c in name)
    text = re.sub(r"_{2,}", "_", text).strip("_") or "unnamed"
    return f"n{text}" if text[0].isdigit() else text


class Namespace:
    """Distinct identifiers for a set of names."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(RESERVED) | set(taken)

    @property
    def taken(self) -> frozenset[str]:
        """The identifiers that are in use or reserved."""
        return frozenset(self._taken)

    def add(self, name: str) -> str:
        """An identifier for this name that no other name has."""
        wanted = identifier(name)
        found, number = wanted, 2
        while found in self._taken:
            found, number = f"{wanted}_{number}", number + 1
        self._taken.add(found)
        return found


def comment(text: str) -> str:
    """A text that can stand in a C comment: nothing in it ends the comment or continues a line."""
    return re.sub(r"[^A-Za-z0-9 _.,:;()\[\]<>=+-]", " ", text)
