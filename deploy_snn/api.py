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
        model: a name or a path, such as ``"lif"``, ``"model.py"``, ``"net.pt"`` (BindsNET) or ``"snn.nir"``.
        options: keywords of the neuron class, of ``build()``, or of the importer.

    Returns:
        The neuron or the network. Its attribute ``source`` says where it came from and what the importer did not import.

    Raises:
        InvalidInput: for an unknown name, an unreadable file, or invalid options.
    """
    loaded = load(model, options)
    module = loaded.program.neuron if isinstance(loaded.program, NeuronProgram) else loaded.program
    if not isinstance(module, (Nodes, Network)):
        raise InvalidInput(f"{model} is a {type(module).__name__}; expected a neuron or a Network")
    module.source = loaded.source  # type: ignore[assignment]
    return module


def export(
    model: "Nodes | Program",
    path: str | Path,
    *,
    formats: Sequence[str | Format] | None = None,
    golden_steps: int | None = None,
    snap_bits: int | None = None,
    labels: str | Path | None = None,
    seed: int = 0,
) -> Bundle:
    """Export a neuron or a network as a bundle: a folder with every format, a manifest and a golden trace.

    Args:
        model: a neuron such as ``LIFNodes(100)``, or a ``Network``.
        path: the bundle's folder. An existing bundle is replaced. Any other existing file or folder is an error.
        formats: names, or formats with options, such as ``["pt2", Onnx(opset=18)]``. By default all but wasm and aoti,
            without those that cannot hold the model; the manifest then says why.
        golden_steps: the length of the golden trace; 0 for no golden trace. By default as many steps as fit into a size
            budget, which grows with the weights; at most 200.
        snap_bits: round the weights of a network to multiples of ``2**-snap_bits``, in place, so that every sum is exact.
        labels: a .safetensors file with ``LAYER.assignments``: the label of each neuron of a layer.
        seed: seed of the golden trace's stimulus.

    Raises:
        InvalidInput: for a model that cannot be exported, a path that cannot be written, or invalid options.
        Unavailable: for a format whose tools are not installed.
    """
    program = as_program(model, f"model is a {type(model).__name__}")
    source = getattr(model, "source", None) or Source(kind="object", name=type(model).__name__)
    return export_loaded(
        Loaded(Path(path).name, program, source),
        Path(path),
        formats=PORTABLE if formats is None else formats,
        skip_refused=formats is None,
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
    skip_refused: bool = False,
    golden_steps: int | None = None,
    snap_bits: int | None = None,
    labels: Path | None = None,
    seed: int = 0,
) -> Bundle:
    """Export a loaded model and record its source in the manifest. Otherwise the same as :func:`export`.

    With ``skip_refused``, a format that cannot hold the model is left out.
    """
    program = loaded.program
    program.requires_grad_(requires_grad=False)
    snapped: tuple[SnappedWeights, ...] = ()
    if snap_bits is not None:
        if not isinstance(program, Network):
            raise InvalidInput(f"snap_bits={snap_bits}: {loaded.name} is a single neuron class and has no weights to round")
        snapped = snap_weights(program.connections, snap_bits)
    readout = Readout.read(labels, program.contract.outputs) if labels else None
    golden = golden_trace(program, golden_steps, seed)
    return write_bundle(path, program, loaded.source, formats, Extras(golden, snapped, readout, skip_refused))
