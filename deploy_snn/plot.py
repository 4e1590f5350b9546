"""Pictures of a run: rasters, potentials, firing rates, and weights before and after learning.

matplotlib (the extra ``plot``) is imported when a picture is drawn.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy_snn.bundle.trace import Trace
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.tensors import Array, Arrays, read_tensors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
INK = "#1f4e79"
FEW = 8
"""The number of neurons whose potentials are drawn; more lines hide each other."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "deploy_snn",
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def read_run(path: Path) -> Arrays:
    """Read what is drawn of a run: the tensors of a file of ``run``, or the outputs and states of a trace."""
    tensors = read_tensors(path)
    if any(name.startswith("inputs/") for name in tensors):
        trace = Trace.read(path)
        return trace.outputs | trace.states
    return tensors


def choose(tensors: Mapping[str, Array], names: list[str] | None, *, spikes: bool) -> Arrays:
    """The spikes ``[T, B, ...]``, or the numbers, among tensors; ``names`` restricts them.

    Raises InvalidInput for a name that is not there, and if nothing is left.
    """
    what = "spikes" if spikes else "numbers over time"
    found = {
        name: array for name, array in tensors.items() if (array.dtype == np.bool_) is spikes and array.ndim > 2 - spikes
    }
    for name in names or ():
        if name not in found:
            raise InvalidInput(f"'{name}' is not among the {what} of the file; choose from {', '.join(found) or 'none'}")
    if not found:
        raise InvalidInput(f"the file has no {what}; it holds {', '.join(tensors)}")
    return {name: found[name] for name in names or found}


def one_row(name: str, array: Array, row: int) -> Array:
    """One row of a series as ``[T, neurons]``. Raises InvalidInput for a row that the batch does not have."""
    if not 0 <= row < array.shape[1]:
        raise InvalidInput(f"row {row}: '{name}' has rows 0 to {array.shape[1] - 1}")
    return array[:, row].reshape(len(array), -1)


def raster(spikes: Arrays, row: int = 0) -> "Figure":
    """Draw each spike of one row as a mark, a panel for each tensor ``[T, B, ...]``."""
    figure, panels = _panels(spikes)
    for (name, array), axes in zip(spikes.items(), panels, strict=True):
        series = one_row(name, array, row)
        steps, neurons = np.nonzero(series)
        (marks,) = axes.plot(steps, neurons, linestyle="none", marker="|", color=INK, markersize=4)
        marks.set_gid(f"spikes {name}")
        axes.set(ylabel=f"{name}\nneuron", xlim=(-1, len(series)), ylim=(-1, series.shape[1]))
    panels[-1].set_xlabel("step")
    return figure


def rates(spikes: Arrays, row: int = 0) -> "Figure":
    """Draw the share of the steps in which each neuron of one row spikes, a panel for each tensor ``[T, B, ...]``."""
    figure, panels = _panels(spikes)
    for (name, array), axes in zip(spikes.items(), panels, strict=True):
        rate = one_row(name, array, row).mean(0)
        bars = axes.bar(np.arange(rate.size), rate, color=INK, width=0.8)
        for number, bar in enumerate(bars):
            bar.set_gid(f"rate {name} {number}")
        axes.set(ylabel=f"{name}\nspikes per step", xlabel="neuron", xlim=(-1, rate.size), ylim=(0, max(rate.max(), 1e-3)))
    return figure


def potentials(values: Arrays, row: int = 0) -> "Figure":
    """Draw numbers over time for the first neurons of one row, a panel for each tensor ``[T, B, ...]``."""
    figure, panels = _panels(values)
    for (name, array), axes in zip(values.items(), panels, strict=True):
        series = one_row(name, array, row)
        for number in range(min(FEW, series.shape[1])):
            (line,) = axes.plot(np.arange(len(series)), series[:, number], linewidth=0.8, label=str(number))
            line.set_gid(f"line {name} {number}")
        axes.set(ylabel=name, xlim=(0, max(len(series) - 1, 1)))
        if series.shape[1] > FEW:
            axes.set_title(f"the first {FEW} of {series.shape[1]} neurons", fontsize="small", loc="right")
    panels[-1].set_xlabel("step")
    return figure


def weights(before: Arrays, after: Arrays) -> "Figure":
    """Draw each weight after learning over its value before, a panel for each tensor that both have.

    Raises InvalidInput if no tensor of numbers is in both, with the same shape, and differs.
    """
    changed = {
        name: (before[name], array)
        for name, array in after.items()
        if name in before
        and before[name].shape == array.shape
        and array.dtype.kind == "f"
        and (before[name] != array).any()
    }
    if not changed:
        shared = ", ".join(name for name in after if name in before)
        raise InvalidInput(f"no tensor differs between the two files; in both are {shared or 'none'}")
    figure, panels = _panels(changed)
    for (name, (old, new)), axes in zip(changed.items(), panels, strict=True):
        low, high = float(min(old.min(), new.min())), float(max(old.max(), new.max()))
        axes.plot([low, high], [low, high], color="0.7", linewidth=0.8)
        (marks,) = axes.plot(old.ravel(), new.ravel(), linestyle="none", marker=".", markersize=3, color=INK, alpha=0.6)
        marks.set_gid(f"weights {name}")
        moved = int((old != new).sum())
        axes.set(ylabel=f"{name}\nafter", xlabel="before")
        axes.set_title(f"{moved} of {new.size} changed", fontsize="small", loc="right")
    return figure


def save(figure: "Figure", path: Path) -> None:
    """Write a picture; the suffix of the path says in which format. The same picture gives the same bytes."""
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context(STYLE):
        stamp: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower(), {})
        figure.savefig(path, metadata=stamp, dpi=150)


def check_suffix(path: Path) -> None:
    """Raise InvalidInput for a path that does not name a format of pictures."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")


def _panels(series: Mapping[str, object]) -> "tuple[Figure, list[Axes]]":
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415  (without pyplot: no window, no global state)
    except ImportError as error:
        raise Unavailable(
            f"plot needs {error.name}: install the extra 'plot' of deploy-snn (in its folder: pip install '.[plot]')"
        ) from None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1 + 2 * len(series)), layout="constrained")
        return figure, list(figure.subplots(len(series), squeeze=False)[:, 0])
