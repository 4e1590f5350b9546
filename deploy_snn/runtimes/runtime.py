"""What every runtime is to the toolkit: something that steps a bundle and keeps its state where it likes."""

from abc import ABC, abstractmethod
from typing import ClassVar

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Contract, check_tensors
from deploy_snn.tensors import Arrays


class Runtime(ABC):
    """One stream of a bundle's program: ``start`` from a state, ``step`` or ``run`` with inputs, read the ``state`` back.

    A runtime keeps the state between steps in its own memory (a device's, an OrtValue's) and copies it out only when
    asked. The arrays that it gives are the caller's to keep.
    """

    files: ClassVar[tuple[str, ...]]
    """The files of the bundle that this runtime runs; () for the rebuilt program itself."""

    contract: Contract

    @abstractmethod
    def __init__(self, bundle: Bundle) -> None:
        """Load the bundle's file. Raises InvalidInput if it is not what the manifest says."""

    @abstractmethod
    def start(self, state: Arrays) -> None:
        """Go on from this state."""

    @abstractmethod
    def step(self, inputs: Arrays) -> Arrays:
        """Take one step and give the outputs."""

    @abstractmethod
    def state(self) -> Arrays:
        """The state after the last step."""

    @abstractmethod
    def run(self, inputs: Arrays) -> Arrays:
        """Take all steps of a sequence in one call, and give the outputs: inputs and outputs have a leading time axis."""

    def check(self, inputs: Arrays, state: Arrays) -> None:
        """Check one step's inputs and a state against the contract. Raises InvalidInput."""
        sizes = check_tensors(self.contract.inputs, inputs, "input")
        check_tensors(self.contract.states, state, "state", sizes)
