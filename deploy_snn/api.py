"""The Python API for writing bundles: load a model, export it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from deploy_snn.bundle import Bundle, Readout, Source
from deploy_snn.definition import as_program
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import PORTABLE, Format, write_bundle
from deploy_snn.formats.writer import Extras, unreported
from deploy_snn.importers import Loaded, load_module
from deploy_snn.importers import load_model as load
from deploy_snn.network import Network, SnappedWeights, snap_weights
from deploy_snn.neurons import NeuronProgram, Nodes
from deploy_snn.parity import golden_trace
from deploy_snn.program import Program


def load_model(model: str | Path | nn.Module, **options: Any) -> Nodes | Network:
    """Load a model: a neuron class by name, a Python file with ``build()``, or a file or module of another framework.

    ::

        model = nn.Sequential(nn.Conv2d(2, 8, 3), snntorch.Leaky(0.9), nn.Flatten(), nn.Linear(800, 10)).eval()
        load_model(model, input_shape=(2, 12, 12))

    Args:
        model: a name or a path, such as ``"lif"``, ``"model.py"``, ``"net.pt"`` (BindsNET) or ``"snn.nir"``; or an
            ``nn.Sequential`` in eval mode, also nested, of torch's layers and neurons of snnTorch, SpikingJelly or norse.
            What such a module has no counterpart for is refused by name. The network starts from the neurons' reset state.
        options: keywords of the neuron class, of ``build()``, or of the importer. For a module: ``input_shape``, the shape
            of the input without the batch axis, needed unless the first layer is a Linear; ``dt`` in ms; and ``inputs``,
            "values" or "spikes".

    Returns:
        The neuron or the network. Its attribute ``source`` says where it came from and what the importer did not import.

    Raises:
        InvalidInput: for an unknown name, an unreadable file or module, or invalid options.
    """
    loaded = load_module(model, options) if isinstance(model, nn.Module) else load(model, options)
    module = loaded.program.neuron if isinstance(loaded.program, NeuronProgram) else loaded.program
    if not isinstance(module, (Nodes, Network)):
        raise InvalidInput(f"{model} is a {type(module).__name__}; expected a neuron or a Network")
    module.source = loaded.source  # type: ignore[assignment]
    return module


def export(
    model: nn.Module,
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    formats: Sequence[str | Format] | None = None,
    golden_steps: int | None = None,
    snap_bits: int | None = None,
    labels: str | Path | None = None,
    seed: int = 0,
) -> Bundle:
    """Export a neuron or a network as a bundle: a folder with every format, a manifest and a golden trace.

    Args:
        model: a neuron such as ``LIFNodes(100)``, a ``Network``, or a torch module that :func:`load_model` takes.
        path: the bundle's folder. An existing bundle is replaced. Any other existing file or folder is an error.
        input_shape: the shape of the input without the batch axis, for a torch module whose first layer is not a Linear.
        formats: names, or formats with options, such as ``["pt2", Onnx(opset=18)]``. By default all but wasm, aoti,
            executorch, onnx-custom and torchscript-custom. A format that cannot hold the model is left out; the manifest
            then says why.
        golden_steps: the length of the golden trace; 0 for no golden trace. By default as many steps as fit into a size
            budget, which grows with the weights; at most 200.
        snap_bits: round the weights of a network to multiples of ``2**-snap_bits``, in place, so that every sum is exact.
        labels: a .safetensors file with ``LAYER.assignments``: the label of each neuron of a layer.
        seed: seed of the golden trace's stimulus.

    Raises:
        InvalidInput: for a model that cannot be exported, a path that cannot be written, or invalid options.
        Unavailable: for a format whose tools are not installed.
    """
    if isinstance(model, nn.Module) and not isinstance(model, (Nodes, Program)):
        model = load_model(model, **({} if input_shape is None else {"input_shape": tuple(input_shape)}))
    elif input_shape is not None:
        raise InvalidInput(f"input_shape={tuple(input_shape)}: a {type(model).__name__} has a shape of its own")
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
    on_stage: Callable[[str], None] = unreported,
) -> Bundle:
    """Export a loaded model and record its source in the manifest. Otherwise the same as :func:`export`.

    With ``skip_refused``, a format that cannot hold the model is left out. ``on_stage`` gets the name of each stage of the
    work as it begins.
    """
    program = loaded.program
    program.requires_grad_(requires_grad=False)
    snapped: tuple[SnappedWeights, ...] = ()
    if snap_bits is not None:
        if not isinstance(program, Network):
            raise InvalidInput(f"snap_bits={snap_bits}: {loaded.name} is a single neuron class and has no weights to round")
        snapped = snap_weights(program.connections, snap_bits)
    readout = Readout.read(labels, program.contract.outputs) if labels else None
    on_stage("golden trace")
    golden = golden_trace(program, golden_steps, seed)
    return write_bundle(
        path, program, loaded.source, formats, Extras(golden, snapped, readout, skip_refused), on_stage=on_stage
    )
