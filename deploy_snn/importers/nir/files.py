"""NIR (Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9): graphs that norse, snnTorch and others write."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.nir.activity import activity_notes
from deploy_snn.importers.nir.assembly import Assembly
from deploy_snn.importers.nir.convention import EULER, Reset, check_reset, find_convention
from deploy_snn.importers.nir.graph import Flat, shown
from deploy_snn.importers.nir.hdf5 import read_graph, require_nir
from deploy_snn.importers.nir.neurons import Reading
from deploy_snn.importers.nir.rewrite import firing, one_step_late, refuse_spyx_images, refuse_spyx_loops, without_reset
from deploy_snn.importers.nir.write import Writing
from deploy_snn.network import Network
from deploy_snn.neurons import Input

if TYPE_CHECKING:
    from nir import NIRGraph

METADATA_KEY = "deploy_snn"
"""The key of a graph's metadata under which ``write_nir`` records the options for reading it back."""

READ_OPTIONS = ("dt", "convention", "reset", "input")
INPUTS = ("values", "spikes")


def read_nir(path: Path, options: dict[str, Any]) -> Imported:
    """Read a NIR file as a network. Spikes pass through all layers within one step, as in the writers' own loops.

    Options: ``convention``, how the writer steps its neurons (``CONVENTIONS``); ``dt``, the length of a step in ms, needed
    if the convention has none; ``reset``, if it differs from the convention's, for all neurons or as a dictionary from the
    name of a node to its reset; ``input``, "values" (the default) or "spikes". A file of ``write_nir`` records all four.

    Raises InvalidInput for a file of another format, nodes that do not fit, and unknown options; Unavailable where the
    extra ``nir`` is not installed.
    """
    graph = read_graph(path)
    unknown = sorted(options.keys() - set(READ_OPTIONS))
    if unknown:
        raise InvalidInput(f"unknown option {', '.join(unknown)}; a NIR file takes {', '.join(READ_OPTIONS)}")
    given = _recorded_options(graph, path) | options
    _check_types(given)
    name = given.get("convention", EULER)
    reset = given.get("reset")
    convention = find_convention(name, None if isinstance(reset, dict) else reset)
    dt = given.get("dt", convention.dt)
    if dt is None:
        raise InvalidInput(
            f"{path} does not state the length of a step, nor does convention={name}: set dt (in ms), or name the writer, "
            "such as convention=snntorch"
        )
    if not 0 < dt < float("inf"):
        raise InvalidInput(f"dt={dt}: expected a number of ms greater than 0")
    inputs = given.get("input", INPUTS[0])
    if inputs not in INPUTS:
        raise InvalidInput(f"input={inputs}: expected {' or '.join(INPUTS)}")
    try:
        flat = Flat.of(graph)
        reading = Reading(convention, float(dt), _resets_by_node(reset, flat) if isinstance(reset, dict) else {})
        assembly = Assembly(_rewritten(flat, reading), reading, spikes=inputs == "spikes")
        network = assembly.network()
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    resets = "by node" if isinstance(reset, dict) else convention.reset
    how = f"read with convention={name}, reset={resets} and dt={dt:g} ms: {convention.about}"
    if METADATA_KEY in (graph.metadata or {}):
        return Imported(network, tuple(assembly.left_behind), (how, *assembly.notes))
    silent = [f"not in a file of {name}: {what}" for what in convention.silent]
    notes = (how, *silent, *activity_notes(network, reading, name), *assembly.notes)
    return Imported(network, tuple(assembly.left_behind), notes)


def _rewritten(flat: Flat, reading: Reading) -> Flat:
    """The graph, rewritten for the convention. Raises InvalidInput for files that the writer is known to write wrongly."""
    if reading.convention.late:
        refuse_spyx_loops(flat)
        refuse_spyx_images(flat)
        flat = one_step_late(flat, reading.seconds)
    free = [name for name in firing(flat) if reading.of(name, flat.nodes[name]).convention.reset == "none"]
    return without_reset(flat, free)


def _resets_by_node(given: dict[str, Any], flat: Flat) -> dict[str, Reset]:
    """Resets by the names of nodes in the flat graph. Raises InvalidInput for a name that no firing node has."""
    names = {shown(name): name for name in firing(flat)}
    for name in given:
        if name not in names:
            raise InvalidInput(f"reset: no node '{name}' fires; choose from {', '.join(names) or 'none'}")
    return {names[name]: check_reset(reset) for name, reset in given.items()}


def write_nir(network: Network, path: Path, *, convention: str = EULER, reset: str | None = None) -> None:
    """Write a network as a NIR file; a reader with the same convention computes the same spikes.

    Args:
        network: the network.
        path: where to write.
        convention: how the reader steps its neurons (``CONVENTIONS``). By default NIR's equations with Euler's method.
        reset: how the reader resets them, if it differs from the convention.

    Both are written beside the graph, with dt, so that ``read_nir`` needs no options.

    Raises:
        InvalidInput: naming the layer or connection, for what has no counterpart in NIR.
        Unavailable: where the extra ``nir`` is not installed.
    """
    require_nir()
    import nir  # noqa: PLC0415

    how = find_convention(convention, reset)
    dt = network.contract.dt
    kinds = {isinstance(layer.neuron, Input) for layer in network.layers.values() if layer.external}
    if len(kinds) > 1:
        raise InvalidInput(
            "some inputs are spikes, of Input layers, and others numbers: a graph's inputs are all of one kind"
        )
    recorded = {"convention": convention, "reset": how.reset, "dt": dt, "input": "spikes" if kinds == {True} else "values"}
    graph = Writing(network, Reading(how, dt)).graph({METADATA_KEY: recorded})
    try:
        nir.write(path, graph)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error}") from None


def _recorded_options(graph: "NIRGraph", path: Path) -> dict[str, Any]:
    """The options that ``write_nir`` recorded in a file; {} for files of other writers."""
    recorded = graph.metadata.get(METADATA_KEY, {}) if isinstance(graph.metadata, dict) else {}
    known = isinstance(recorded, dict) and recorded.keys() <= set(READ_OPTIONS)
    if not known or not all(isinstance(value, (str, float)) for value in recorded.values()):
        raise InvalidInput(f"{path}: its metadata under {METADATA_KEY} are not what this version writes")
    return dict(recorded)


def _check_types(given: dict[str, Any]) -> None:
    for name, value in given.items():
        kinds = {"dt": (int, float), "reset": (str, dict)}.get(name, (str,))
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise InvalidInput(f"{name}={value!r}: expected {'a number of ms' if name == 'dt' else 'a word'}")
