"""Options that several commands share, and the parsing of their values."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy_snn.errors import InvalidInput

DEFAULT_N = 64
"""The default number of neurons of a class on the command line: the number of pixels of the stimulus "digits"."""


def complete_neuron(begun: str) -> list[str]:
    """The names of neurons that begin so, for the shell."""
    from deploy_snn.registry import NEURONS

    return [name for name in NEURONS if name.startswith(begun)]


def complete_runtime(begun: str) -> list[str]:
    """The names of runtimes that begin so, for the shell."""
    from deploy_snn.registry import RUNTIMES

    return [name for name in RUNTIMES if name.startswith(begun)]


N = Annotated[int | None, typer.Option("--n", help="Number of neurons.", show_default=str(DEFAULT_N))]
Shape = Annotated[str | None, typer.Option("--shape", help="Shape of the population, such as 8,8.", show_default=False)]
Dt = Annotated[float | None, typer.Option("--dt", help="Length of a step in ms.", show_default="1 for a neuron")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other keyword, such as --set thresh=-50 --set traces=true.",
        show_default=False,
    ),
]
SnapWeights = Annotated[
    int | None,
    typer.Option(
        "--snap-weights",
        metavar="BITS",
        min=0,
        max=24,
        help="Round a network's weights to multiples of 2**-BITS, so that every sum is exact and all runtimes bit-equal.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of random weights and of stimuli.")]
Batch = Annotated[int, typer.Option("--batch", help="Number of rows in the batch.")]
RuntimeNames = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="Runtimes, separated by commas.",
        show_default="all that can run here",
        autocompletion=complete_runtime,
    ),
]
Definition = Annotated[
    Path | None,
    typer.Option(
        "--definition",
        metavar="FILE",
        help="The .py file that defines your own neuron or connection classes, for a bundle that uses them.",
        show_default=False,
    ),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder written by export.", show_default=False)]


def model_options(
    model: str, n: int | None, shape: str | None, dt: float | None, sets: list[str] | None, *, is_bundle: bool = False
) -> dict[str, Any]:
    """Collect the keywords for a neuron class, ``build()`` or an importer from the command-line options."""
    from deploy_snn.model_name import names_a_file

    options: dict[str, Any] = dict(map(_key_and_value, sets or []))
    if shape is not None:
        options["shape"] = _sizes(shape)
    if n is not None:
        options["n"] = n
    if dt is not None:
        options["dt"] = dt
    if not is_bundle and not names_a_file(model) and not {"n", "shape"} & options.keys():
        options["n"] = DEFAULT_N
    return options


def one_thread() -> None:
    """Restrict torch to one thread, if it has been imported. A step is too small to split between cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def names(text: str | None) -> list[str] | None:
    """Parse a list of names separated by commas; None if the option is missing."""
    if text is None:
        return None
    parsed = [name.strip() for name in text.split(",") if name.strip()]
    if not parsed:
        raise InvalidInput(f"empty list of names {text!r}; expected at least one name, separated by commas")
    return list(dict.fromkeys(parsed))


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Parse whole numbers separated by commas. Raises InvalidInput, naming the option."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise InvalidInput(
            f"--{option} {text}: expected whole numbers separated by commas, such as --{option} 1,3"
        ) from None


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.replace("x", ",").split(",")]
    except ValueError:
        raise InvalidInput(f"--shape {text}: expected sizes separated by commas, such as --shape 8,8") from None


def _key_and_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidInput(f"--set {text}: expected KEY=VALUE, such as --set thresh=-50")
    if value in ("None", "True", "False"):
        value = {"None": "null"}.get(value, value.lower())
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
