"""A bundle's program with the weights and thresholds that a run has learnt."""

from pathlib import Path
from typing import Any

import torch

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Kind, check_tensors
from deploy_snn.definition import classes_in
from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.importers import Loaded
from deploy_snn.network import PlasticConnection, rebuild_program
from deploy_snn.program import Program
from deploy_snn.reference import reference_program
from deploy_snn.structure import ModuleRecord, Structure
from deploy_snn.tensors import Array, Arrays, check_finite

LEARNT = (Kind.WEIGHT, Kind.THRESHOLD)
"""The states that last: those that learning changes, and that all rows of a batch share."""


def learnt_model(
    bundle: Bundle, state: Arrays | None = None, *, learning: bool | None = None, definition: Path | None = None
) -> Loaded:
    """Rebuild the program of a bundle so that it starts from what a run has learnt.

    Args:
        bundle: the bundle.
        state: a state of its program. Weights and adaptive thresholds are taken from it; all else starts from rest. None
            for the initial state.
        learning: False to make weights and thresholds constants, True to let them learn; None for no change.
        definition: the Python file with the user's own classes, if the model has any.

    Raises:
        InvalidInput: for a state that does not fit, and for a bundle that cannot be rebuilt.
    """
    program = reference_program(bundle, definition)
    if state is not None:
        check_tensors(bundle.contract.states, state, "state")
        check_finite(state, "state")
        for spec in bundle.contract.states:
            if spec.kind in LEARNT and spec.batch_axis is None:
                _start_from(program, spec.name, state[spec.name])
    structure = bundle.manifest.structure
    if learning is not None:
        if structure is None:
            raise InvalidInput(f"{bundle.path} was written by an older deploy_snn: export the model again")
        classes = classes_in(definition) if definition is not None else {}
        parameters, switched = to_numpy(program.state_dict()), _with_learning(structure, learning)
        # A state that has become a constant can no longer be recorded.
        unrecorded = rebuild_program(switched.model_copy(update={"record": ()}), parameters, classes)
        gone = {spec.name for spec in bundle.contract.states} - {spec.name for spec in unrecorded.contract.states}
        record = tuple(name for name in structure.record if name not in gone)
        program = rebuild_program(switched.model_copy(update={"record": record}), parameters, classes)
    learnt = "" if state is None else ", with the weights and thresholds of a state"
    note = f"Rebuilt from the bundle {bundle.name}{learnt}"
    source = bundle.manifest.source
    return Loaded(bundle.name, program, source.model_copy(update={"notes": (*source.notes, note)}))


def _start_from(program: Program, name: str, value: Array) -> None:
    """Put a learnt value into the buffer from which its state starts."""
    owner, _, leaf = name.rpartition(".")
    tensor = torch.from_numpy(value.copy())
    for module in program.modules():
        if isinstance(module, PlasticConnection) and module.name == owner:
            module.initial_weights().copy_(tensor)
            return
    neuron = program.get_submodule(f"layers.{owner}.neuron" if owner else "neuron")
    neuron.get_buffer(leaf).copy_(tensor)


def _with_learning(structure: Structure, learning: bool) -> Structure:
    def switched(record: Any) -> Any:
        return record.model_copy(update={"options": record.options | {"learning": learning}})

    neuron: ModuleRecord | None = None if structure.neuron is None else switched(structure.neuron)
    connections = (
        record if record.rule is None else record.model_copy(update={"rule": switched(record.rule)})
        for record in structure.connections
    )
    update = {"neuron": neuron, "layers": tuple(map(switched, structure.layers)), "connections": tuple(connections)}
    return structure.model_copy(update=update)
