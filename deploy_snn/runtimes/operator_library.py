"""Building the library of a compiled operator, from the source in a bundle."""

from pathlib import Path

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import TUNED, build_library


def operator_library(bundle: Bundle, source: str, weights: str, flags: tuple[str, ...]) -> Path:
    """Compile a source of the bundle beside its file of weights, or take the library from the cache.

    Args:
        bundle: the bundle with both files.
        source: the name of the C file.
        weights: the name of the file of weights that the source includes; "" for none.
        flags: further flags of the compiler, for the other runtime's headers and libraries.

    Raises Unavailable if there is no compiler, or if it fails.
    """
    texts: dict[str, str | bytes] = {source: bundle.file(source).read_text()}
    if weights:
        texts[weights] = bundle.file(weights).read_bytes()
    return build_library(texts, flags=(TUNED, *flags))
