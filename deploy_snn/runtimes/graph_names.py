"""The names of an ONNX graph's outputs: hosts address outputs by name, so they must be the contract's, and no others."""

from collections.abc import Iterable
from pathlib import Path

from deploy_snn.contract import Contract
from deploy_snn.errors import InvalidInput


def check_graph_names(contract: Contract, outputs: Iterable[str], path: Path) -> None:
    """Raise InvalidInput if the outputs of a graph are not the contract's outputs and next states."""
    found = set(outputs)
    expected = {spec.name for spec in contract.outputs} | {spec.next_name for spec in contract.states}
    for problem, names in (("lacks the outputs", expected - found), ("has unexpected outputs", found - expected)):
        if names:
            raise InvalidInput(f"{path} {problem} {', '.join(sorted(names))}: they differ from the contract")
