"""Groups of options that several commands share, and what turns their text into values."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy_snn.errors import InvalidInput

DEFAULT_N = 64
"""How many neurons a class has on the command line unless it is told: as many as the digits have pixels."""

N = Annotated[int | None, typer.Option("--n", help=f"Number of neurons ({DEFAULT_N} unless given).", show_default=False)]
Shape = Annotated[str | None, typer.Option("--shape", help="Shape of the population, such as 8,8.", show_default=False)]
Dt = Annotated[float | None, typer.Option("--dt", help="Length of a step in ms (a neuron's is 1).", show_default=False)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any other keyword: --set thresh=-50 --set traces=true.", show_default=False
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
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of weights drawn at construction, and of stimuli.")]
Batch = Annotated[int, typer.Option("--batch", help="Rows of a batch.")]
RuntimeNames = Annotated[
    str | None,
    typer.Option(
        "--runtime", help="Runtimes, separated by commas. All that can run here unless given.", show_default=False
    ),
]
Definition = Annotated[
    Path | None,
    typer.Option(
        "--definition",
        metavar="FILE",
        help="The .py file with your own neuron or connection classes, for a bundle that has any.",
        show_default=False,
    ),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that export wrote.", show_default=False)]


def model_options(model: str, n: int | None, shape: str | None, dt: float | None, sets: list[str] | None) -> dict[str, Any]:
    """The keywords for a neuron class, ``build()`` or an importer, from the options that were given."""
    from deploy_snn.model_name import names_a_file

    options: dict[str, Any] = dict(map(_key_and_value, sets or []))
    if shape is not None:
        options["shape"] = _sizes(shape)
    if n is not None:
        options["n"] = n
    if dt is not None:
        options["dt"] = dt
    if not names_a_file(model) and not {"n", "shape"} & options.keys():
        options["n"] = DEFAULT_N
    return options


def one_thread() -> None:
    """Restrict torch to one thread, where it has been imported: a step is too small to share between cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def names(text: str | None) -> list[str] | None:
    """A list of names separated by commas; None where nothing was given."""
    if text is None:
        return None
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise InvalidInput("an empty list of names: give at least one, separated by commas")
    return list(dict.fromkeys(found))


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
