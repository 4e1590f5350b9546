"""The argument MODEL of several commands: a bundle, or anything that ``export`` takes, exported to a temporary folder."""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy_snn.cli.export import export_model
from deploy_snn.cli.options import model_options
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from deploy_snn.bundle import Bundle

Model = Annotated[
    str,
    typer.Argument(
        metavar="BUNDLE|MODEL",
        help="A bundle, the name of a neuron, a .py file, or a file of another framework.",
        show_default=False,
    ),
]


def is_bundle(model: str) -> bool:
    """Whether an argument is the path of a bundle. Raises InvalidInput if it is a folder and a neuron as well."""
    from deploy_snn.model_name import names_a_file
    from deploy_snn.registry import NEURONS

    if names_a_file(model):
        return False
    is_folder = Path(model).is_dir()
    if Path(model).name != model:
        return True
    wanted = model.lower().replace("_", "-")  # without find_neuron, as a bundle is opened without torch
    classes = [entry.attribute for name, entry in NEURONS.entries.items() if wanted in (name, entry.attribute.lower())]
    if not classes:
        return is_folder
    if is_folder:
        other = classes[0] if not Path(classes[0]).exists() else "its name in another folder"
        raise InvalidInput(
            f"'{model}' is a folder here and also a neuron: use ./{model} for the folder, or {other} for the neuron"
        )
    return False


def opening(
    model: str,
    stack: ExitStack,
    *,
    n: int | None = None,
    shape: str | None = None,
    dt: float | None = None,
    sets: list[str] | None = None,
    snap: int | None = None,
    seed: int = 0,
    runtime: str | None = None,
    golden_steps: int | None = None,
) -> "Callable[[], Bundle]":
    """A function that opens a bundle, or exports a model to a temporary folder, which ``stack`` removes.

    A temporary bundle holds the formats that ``runtime`` reads, or all portable ones. Raises InvalidInput for a wrong name
    at once. A bundle is opened without torch.
    """
    if is_bundle(model):
        given = {"--n": n, "--shape": shape, "--dt": dt, "--set": sets, "--snap-weights": snap}
        return partial(_bundle, model, [option for option, value in given.items() if value is not None])
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="deploy-snn-"))

    def export() -> "Bundle":
        return export_model(
            model,
            model_options(model, n, shape, dt, sets),
            Path(folder) / Path(model).stem,
            formats=None if runtime is None else _formats_for(runtime),
            golden_steps=golden_steps,
            seed=seed,
            snap=snap,
        )

    return export


def check_runtimes(runtimes: "Iterable[str]", models: "Sequence[str]") -> None:
    """Check requested runtimes before models are exported.

    For bundles, only the names are checked: an open bundle may carry a library, and then no compiler is needed.

    Raises InvalidInput for an unknown runtime, Unavailable for one that cannot run here.
    """
    from deploy_snn.registry import RUNTIMES
    from deploy_snn.runtimes import find_runtime

    for name in runtimes:
        RUNTIMES.entry(name)
        if not all(map(is_bundle, models)):
            find_runtime(name)


def _formats_for(runtime: str) -> list[str]:
    """The formats whose files a runtime reads; ``onnx`` for a runtime that reads none.

    Raises InvalidInput for an unknown runtime, Unavailable for one that cannot run here.
    """
    from deploy_snn.registry import FORMATS
    from deploy_snn.runtimes import find_runtime

    files = set(find_runtime(runtime).files)
    return [name for name in FORMATS if files & set(FORMATS[name].files)] or ["onnx"]


def _bundle(path: str, used: list[str]) -> "Bundle":
    """Open a bundle. Raises InvalidInput if options were used that only models have."""
    from deploy_snn.bundle import Bundle

    if used:
        raise InvalidInput(f"{path} is a bundle; {', '.join(used)} can only be used with a MODEL")
    return Bundle.open(Path(path))
