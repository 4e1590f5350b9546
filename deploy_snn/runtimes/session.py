"""A run of a bundle's program: checked inputs go in, outputs come out, the state is kept between calls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploy_snn.contract import check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes.find import find_runtime
from deploy_snn.tensors import Array, Arrays, check_finite

if TYPE_CHECKING:
    from deploy_snn.bundle import Bundle


class Session:
    """One stream of a bundle's program on one runtime.

    Args:
        bundle: the bundle. runtime: a runtime's name. batch: the number of rows; the session begins at the initial state.

    Raises:
        InvalidInput: for an unknown runtime, a bundle without its files, or a batch of less than one row.
        Unavailable: for a runtime that cannot run on this machine.
    """

    def __init__(self, bundle: "Bundle", runtime: str = "onnxruntime-cpu", batch: int = 1) -> None:
        self.bundle = bundle
        self.name = runtime
        self.contract = bundle.contract
        self._runtime = find_runtime(runtime)(bundle)
        self._batch = batch
        self._steps = 0
        self.reset()

    def reset(self, batch: int | None = None) -> None:
        """Go back to the initial state, for ``batch`` rows; for as many as before unless given."""
        batch = self._batch if batch is None else batch
        self._runtime.start(self.bundle.initial_state(batch))
        self._batch, self._steps = batch, 0

    def step(self, inputs: Mapping[str, Array] | Array) -> Arrays:
        """Take one step.

        Args:
            inputs: for each input an array ``[B, ...]``; the array alone where the program has one input.

        Returns:
            For each output an array ``[B, ...]``.

        Raises:
            InvalidInput: for a name, type or shape that the contract does not have, for another batch than the state's,
                and for NaN or an infinity. The state is then as it was.
        """
        given = self._named(inputs)
        self._check(check_tensors(self.contract.inputs, given, "input"), given)
        outputs = self._runtime.step(given)
        self._steps += 1
        return outputs

    def run(self, inputs: Mapping[str, Array] | Array) -> Arrays:
        """Take all steps of a sequence in one call: inputs and outputs are ``[T, B, ...]``. Raises as ``step`` does."""
        given = self._named(inputs)
        sizes = check_tensors([spec.in_time() for spec in self.contract.inputs], given, "input")
        self._check(sizes, given)
        outputs = self._runtime.run(given)
        self._steps += sizes["time"]
        return outputs

    @property
    def state(self) -> Arrays:
        """The state after the last step, by name. Assign one to go on from there."""
        return self._runtime.state()

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        given = dict(state)
        sizes = check_tensors(self.contract.states, given, "state")
        check_finite(given, "state")
        self._runtime.start(given)
        self._batch = sizes.get("batch", self._batch)

    def _named(self, inputs: Mapping[str, Array] | Array) -> Arrays:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        names = [spec.name for spec in self.contract.inputs]
        if len(names) != 1:
            raise InvalidInput(f"the program has the inputs {', '.join(names)}: give a dictionary of arrays by name")
        return {names[0]: inputs}

    def _check(self, sizes: Mapping[str, int], inputs: Arrays) -> None:
        check_finite(inputs, "input")
        if sizes["batch"] != self._batch:
            raise InvalidInput(
                f"the inputs have batch {sizes['batch']}, but the session has batch {self._batch}; "
                f"call reset(batch={sizes['batch']})"
            )

    def __repr__(self) -> str:
        return f"Session({self.bundle.name!r} on {self.name}, batch {self._batch}, after {self._steps} steps)"
