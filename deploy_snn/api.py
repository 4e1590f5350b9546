"""The Python API for writing bundles: load a model, export it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy_snn.bundle import Bundle, Readout, Source
from deploy_snn.definition import as_program
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import PORTABLE, Format, write_bundle
from deploy_snn.formats.writer import Extras
from deploy_snn.importers import Loaded
from deploy_snn.importers import load_model as load
from deploy_snn.network import Network, SnappedWeights, snap_weights
from deploy_snn.neurons import NeuronProgram, Nodes
from deploy_snn.parity import golden_trace

if TYPE_CHECKING:
    from deploy_snn.program import Program


def load_model(model: str | Path, **options: Any) -> Nodes | Network:
    """Load a model: a neuron class by name, a Python file with ``build()``, or a file of another framework.

    Args:
        model: such as ``"lif"``, ``"model.py"``, ``"net.pt"`` (BindsNET) or ``"snn.nir"``.
        options: keywords of the neuron class, of ``build()``, or of the importer.

    Returns:
        The neuron or the network. Its attribute ``source`` says where it came from and what an importer left behind.

    Raises:
        InvalidInput: for an unknown name, a file that cannot be read, and options that do not fit.
    """
    loaded = load(model, options)
    found = loaded.program.neuron if isinstance(loaded.program, NeuronProgram) else loaded.program
    if not isinstance(found, (Nodes, Network)):
        raise InvalidInput(f"{model} is a {type(found).__name__}; expected a neuron or a Network")
    found.source = loaded.source  # type: ignore[assignment]
    return found


def export(
    model: "Nodes | Program",
    path: str | Path,
    *,
    formats: Sequence[str | Format] = PORTABLE,
    golden_steps: int | None = None,
    snap_bits: int | None = None,
    labels: str | Path | None = None,
    seed: int = 0,
) -> Bundle:
    """Export a neuron or a network as a bundle: a folder with every format, a manifest and a golden trace.

    Args:
        model: a neuron such as ``LIFNodes(100)``, or a ``Network``.
        path: the bundle's folder. A bundle that stands there is replaced; anything else is left alone.
        formats: names, or formats with options, such as ``["pt2", Onnx(opset=18)]``.
        golden_steps: the length of the golden trace. Unless given, as many steps as fit into a budget in proportion to the
            weights, 200 at most. 0 for no golden trace.
        snap_bits: round the weights of a network to multiples of ``2**-snap_bits``, in place, so that every sum is exact.
        labels: a .safetensors file with ``LAYER.assignments``, the label that each neuron of a layer stands for.
        seed: seed of the golden trace's stimulus.

    Raises:
        InvalidInput: for a model that cannot be exported, a path that cannot be written, or options that do not fit.
        Unavailable: for a format whose tools are missing.
    """
    program = as_program(model, f"model is a {type(model).__name__}")
    source = getattr(model, "source", None) or Source(kind="object", name=type(model).__name__)
    return export_loaded(
        Loaded(Path(path).name, program, source),
        Path(path),
        formats=formats,
        golden_steps=golden_steps,
        snap_bits=snap_bits,
        labels=Path(labels) if labels is not None else None,
        seed=seed,
    )


def export_loaded(
    loaded: Loaded,
    path: Path,
    *,
    formats: Sequence[str | Format] = PORTABLE,
    golden_steps: int | None = None,
    snap_bits: int | None = None,
    labels: Path | None = None,
    seed: int = 0,
) -> Bundle:
    """As :func:`export`, with the model's source."""
    program = loaded.program
    program.requires_grad_(requires_grad=False)
    snapped: tuple[SnappedWeights, ...] = ()
    if snap_bits is not None:
        if not isinstance(program, Network):
            raise InvalidInput(f"snap_bits={snap_bits}: {loaded.name} is no network, and has no connections")
        snapped = snap_weights(program.connections, snap_bits)
    readout = Readout.read(labels, program.contract.outputs) if labels else None
    golden = golden_trace(program, golden_steps, seed)
    return write_bundle(path, program, loaded.source, formats, Extras(golden, snapped, readout))
