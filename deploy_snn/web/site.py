"""Writing the static site: the page, and what the page needs to know of a bundle."""

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.bundle import GOLDEN
from deploy_snn.contract import Kind, Role, TensorSpec
from deploy_snn.errors import InvalidInput

ASSETS = ("index.html", "style.css", "page.js", "deploy-snn.js", "deploy-snn.d.ts")
SITE = "site.json"
MODULE = "model.wasm"
WRITER = "deploy-snn web"
SECTION = "wasm"
READ_STEPS = 250
"""The number of steps for which the page shows a drawing to a network that names it."""
RATE = 0.5
"""The chance of a spike with which BindsNET's and our examples encode the brightest pixel."""
DIGITS = 4
"""Significant digits of the proportions. More would not change a vote, and take more room than the weights."""


def write_site(bundle: Bundle, site: Path, rate: float = RATE) -> Path:
    """Write a static site that runs the bundle in the browser, and return its folder.

    Args:
        bundle: a bundle with format ``wasm``.
        site: the folder, which is created. A site that this function wrote earlier is replaced.
        rate: the chance of a spike in a step of an input neuron at full brightness, which the page begins with.

    Raises:
        InvalidInput: for a rate that is not above 0 and at most 1, a bundle without format ``wasm``, and a folder with
            other content or one that cannot be written.
    """
    if not 0 < rate <= 1:
        raise InvalidInput(f"rate={rate}: expected a number above 0 and at most 1")
    section = bundle.manifest.formats.get(SECTION)
    if section is None:
        raise InvalidInput(f"{bundle.path} has no {MODULE}: export the model with the format wasm")
    weights = section.get("weights") or None
    names = [MODULE, *([weights] if weights else []), *([GOLDEN] if bundle.manifest.golden else [])]
    files = [bundle.file(name) for name in names]
    if site.exists() and not _is_replaceable(site):
        raise InvalidInput(f"{site} exists and was not written by {WRITER}: choose another folder")
    try:
        site.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".deploy-snn-partial-", dir=site.absolute().parent) as name:
            partial = Path(name) / "site"
            partial.mkdir()
            for path in (*(Path(__file__).parent / asset for asset in ASSETS), *files):
                shutil.copyfile(path, partial / path.name)
            (partial / SITE).write_text(json.dumps(describe(bundle, weights, rate), separators=(",", ":")) + "\n")
            if site.exists():
                shutil.rmtree(site)
            partial.replace(site)
    except OSError as error:
        raise InvalidInput(f"{site} cannot be written: {error.strerror or error}") from None
    return site


def _is_replaceable(site: Path) -> bool:
    """Whether a folder is empty, or a site that ``write_site`` wrote."""
    if not site.is_dir():
        return False
    try:
        return not any(site.iterdir()) or json.loads((site / SITE).read_text())["written_by"] == WRITER
    except (OSError, ValueError, KeyError, TypeError):
        return False


def describe(bundle: Bundle, weights: str | None, rate: float) -> dict[str, Any]:
    """What the page shows that the contract does not say: how to draw each input, and the labels."""
    readout = bundle.manifest.readout
    description: dict[str, Any] = {
        "written_by": WRITER,
        "name": bundle.name,
        "weights": weights,
        "golden": bundle.manifest.golden is not None,
        "steps": READ_STEPS,
        "readout": None,
        "inputs": [_describe_input(bundle, spec, rate) for spec in bundle.contract.inputs],
    }
    if readout is not None:
        rounded = [[float(f"{value:.{DIGITS}g}") for value in row] for row in readout.proportions]
        description["readout"] = {
            "layer": readout.layer,
            "assignments": readout.assignments,
            "proportions": rounded,
        }
    return description


def _describe_input(bundle: Bundle, spec: TensorSpec, rate: float) -> dict[str, Any]:
    shape = spec.shape(batch=1)[1:]
    size = math.prod(shape)
    described = {"name": spec.name, "size": size}
    if spec.role is not Role.DRIVE:
        return described | {"kind": spec.role.value}
    structure = bundle.manifest.structure
    layers = structure.layers if structure is not None else ()
    spikes = any(layer.name == spec.owner and layer.class_name == "Input" for layer in layers)
    weights = (state for state in bundle.contract.states if state.kind is Kind.WEIGHT and len(state.axes) == 2)
    learnt_from = [state.axes[0].size for state in weights]
    height, width, image = _grid(shape, drawn=bundle.manifest.readout is not None or size in learnt_from)
    return described | {
        "kind": "spikes" if spikes else "current",
        "height": height,
        "width": width,
        "image": image,
        "level": rate if spikes else _level(bundle, spec.name),
    }


def _grid(shape: tuple[int, ...], *, drawn: bool) -> tuple[int, int, bool]:
    """The rows and columns in which an input is drawn, and whether it is an image.

    An image is an input of two axes, with at most one channel, or a square number of inputs of a network that has labels or
    learns from them (``drawn``).
    """
    size, side = math.prod(shape), math.isqrt(math.prod(shape))
    if len(shape) >= 2 and size == shape[-2] * shape[-1] and min(shape[-2:]) > 1:
        return shape[-2], shape[-1], True
    if drawn and side > 1 and side * side == size:
        return side, side, True
    columns = max(1, math.ceil(math.sqrt(2 * size)))
    return math.ceil(size / columns), min(columns, size), False


def _level(bundle: Bundle, name: str) -> float:
    """A drive that makes neurons fire: the largest one of the golden trace, or 1 without one."""
    if bundle.manifest.golden is None:
        return 1.0
    largest = float(bundle.golden().inputs[name].max())
    return float(f"{largest:.3g}") if largest > 0 else 1.0
