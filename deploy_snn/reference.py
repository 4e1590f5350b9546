"""The eager program of a bundle: the reference that every runtime is compared with."""

import hashlib
from pathlib import Path

from deploy_snn.bundle import Bundle, Source
from deploy_snn.definition import build_program, classes_in
from deploy_snn.errors import InvalidInput
from deploy_snn.importers.load import load_model
from deploy_snn.network import rebuild_program, restore_parameters
from deploy_snn.program import Program
from deploy_snn.structure import ModuleRecord, Structure


def reference_program(bundle: Bundle, definition: Path | None = None) -> Program:
    """Rebuild a bundle's program in eager torch, from its manifest and its parameters.

    ``definition`` is the Python file with the user's own classes, if the model has any. Raises InvalidInput if the program
    cannot be rebuilt, or if its contract differs from the bundle's.
    """
    manifest = bundle.manifest
    structure = manifest.structure or _structure_of_neuron(manifest.source)
    if structure is None:
        program = _program_of_schema_1(bundle, definition)
    else:
        classes = classes_in(definition) if definition is not None else {}
        program = rebuild_program(structure, bundle.parameters(), classes)
    bundle.check_contract(program.contract, "the program rebuilt from its manifest")
    return program


def _structure_of_neuron(source: Source) -> Structure | None:
    """The structure of a single neuron class in a bundle of schema 1, which stored only the class's options."""
    if source.kind != "neuron":
        return None
    return Structure(kind="neuron", neuron=ModuleRecord(class_name=source.name, options=source.options))


def _program_of_schema_1(bundle: Bundle, definition: Path | None) -> Program:
    """Rebuild the program of a schema 1 bundle from its original model file, which must be unchanged."""
    source = bundle.manifest.source
    path = definition or Path(source.name)
    advice = "export the model again, pass definition=FILE, or use the stimulus 'golden'"
    if not path.is_file():
        raise InvalidInput(
            f"{bundle.path} was written by an older deploy_snn, and its model file {path} does not exist: {advice}"
        )
    if definition is None and hashlib.sha256(path.read_bytes()).hexdigest() != source.sha256:
        raise InvalidInput(f"{path} has changed since the export of {bundle.path}: {advice}")
    program = build_program(path, source.options) if source.kind == "file" else load_model(path, source.options).program
    restore_parameters(program, bundle.parameters())
    return program
