"""Names of layers, from names that other frameworks allow."""

import re
from collections.abc import Collection
from keyword import iskeyword

from torch import nn


def free_name(wanted: str, taken: Collection[str]) -> str:
    """A valid and unused name of a layer. ``a_to_b`` is not valid, since it is the name of a connection."""
    word = re.sub(r"_to(?=_)", "_into", re.sub(r"\W", "_", wanted))
    word = f"n{word}" if not word.isidentifier() else word
    word = f"{word}_" if iskeyword(word) or hasattr(nn.ModuleDict, word) else word
    return next(free for free in (word, *(f"{word}_{i}" for i in range(2, len(taken) + 3))) if free not in taken)
