"""The base class of all runtimes. A runtime steps a bundle and keeps the state in its own memory."""

from abc import ABC, abstractmethod
from typing import ClassVar

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Contract, check_tensors
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.tensors import Arrays

NOTHING_TO_NORMALISE = "the program has no weights to normalise: no learning rule has a norm"


class Runtime(ABC):
    """One stream of a bundle's program: ``start`` from a state, ``step`` or ``run`` with inputs, read the ``state`` back.

    Between steps a runtime keeps the state in its own memory (on a device, in an OrtValue) and copies it only in ``state``.
    The caller owns the returned arrays.
    """

    files: ClassVar[tuple[str, ...]]
    """The files of the bundle that this runtime needs; () for eager torch, which rebuilds the program."""

    has_initial_state: ClassVar[bool] = False
    """Whether the files hold an initial state of their own, which ``initial_state`` returns."""

    contract: Contract

    @abstractmethod
    def __init__(self, bundle: Bundle) -> None:
        """Load the bundle's files. Raises InvalidInput if one does not match the manifest."""

    @abstractmethod
    def start(self, state: Arrays) -> None:
        """Set the state from which the next step continues."""

    @abstractmethod
    def step(self, inputs: Arrays) -> Arrays:
        """Run one step and return the outputs."""

    @abstractmethod
    def state(self) -> Arrays:
        """The state after the last step."""

    @abstractmethod
    def run(self, inputs: Arrays) -> Arrays:
        """Run all steps of a sequence in one call and return the outputs. Inputs and outputs have a leading time axis."""

    def initial_state(self, batch: int) -> Arrays:
        """The initial state that the files hold. Raises NotImplementedError if they hold none."""
        raise NotImplementedError

    def normalise(self) -> None:
        """Scale the weights whose learning rule has a ``norm``, as at the end of a sample.

        Raises InvalidInput for a program without such weights, Unavailable for a runtime that cannot do it.
        """
        state = self.state()
        scaled = self.scaled_weights(state)
        if not scaled:
            raise InvalidInput(NOTHING_TO_NORMALISE)
        self.start(state | scaled)

    def scaled_weights(self, state: Arrays) -> Arrays:
        """The normalised weights by name; {} if the program has none."""
        raise Unavailable(f"{type(self).__name__} cannot normalise weights: use another runtime")

    def check(self, inputs: Arrays, state: Arrays) -> None:
        """Check one step's inputs and a state against the contract. Raises InvalidInput."""
        sizes = check_tensors(self.contract.inputs, inputs, "input")
        check_tensors(self.contract.states, state, "state", sizes)
