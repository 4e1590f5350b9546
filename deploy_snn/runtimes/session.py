"""A run of a bundle's program. It checks its inputs and keeps the state between calls."""

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
        bundle: the bundle.
        runtime: the name of a runtime.
        batch: the number of rows. The session starts from the initial state.

    Raises:
        InvalidInput: for an unknown runtime, a bundle without the files of the runtime, or a batch of less than one row.
        Unavailable: for a runtime that cannot run on this machine.
    """

    def __init__(self, bundle: "Bundle", runtime: str = "onnxruntime-cpu", batch: int = 1) -> None:
        self.bundle = bundle
        self.name = runtime
        self.contract = bundle.contract
        self._runtime = find_runtime(runtime, bundle)(bundle)
        self._batch = batch
        self._steps = 0
        self.reset()

    def reset(self, batch: int | None = None) -> None:
        """Return to the initial state, for ``batch`` rows. By default the number of rows does not change."""
        batch = self._batch if batch is None else batch
        self._runtime.start(self.bundle.initial_state(batch))
        self._batch, self._steps = batch, 0

    def step(self, inputs: Mapping[str, Array] | Array) -> Arrays:
        """Run one step.

        Args:
            inputs: a dictionary with an array ``[B, ...]`` for each input. If the program has one input, just its array.

        Returns:
            A dictionary with an array ``[B, ...]`` for each output.

        Raises:
            InvalidInput: for names, types or shapes that do not fit the contract, for another batch than the state's, and
                for NaN or an infinity. The state does not change then.
        """
        arrays = self._named(inputs)
        self._check(check_tensors(self.contract.inputs, arrays, "input"), arrays)
        outputs = self._runtime.step(arrays)
        self._steps += 1
        return outputs

    def run(self, inputs: Mapping[str, Array] | Array) -> Arrays:
        """Run all steps of a sequence in one call. Inputs and outputs are ``[T, B, ...]``. Raises the same as ``step``."""
        arrays = self._named(inputs)
        sizes = check_tensors([spec.in_time() for spec in self.contract.inputs], arrays, "input")
        self._check(sizes, arrays)
        outputs = self._runtime.run(arrays)
        self._steps += sizes["time"]
        return outputs

    def normalise(self) -> None:
        """Scale the weights whose learning rule has a ``norm``, as at the end of a sample.

        Raises InvalidInput for a program without such weights, Unavailable for a runtime that cannot do it.
        """
        self._runtime.normalise()

    @property
    def state(self) -> Arrays:
        """The state after the last step, by name. Assign a state to continue from it."""
        return self._runtime.state()

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        arrays = dict(state)
        sizes = check_tensors(self.contract.states, arrays, "state")
        check_finite(arrays, "state")
        self._runtime.start(arrays)
        self._batch = sizes.get("batch", self._batch)

    def _named(self, inputs: Mapping[str, Array] | Array) -> Arrays:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        names = [spec.name for spec in self.contract.inputs]
        if len(names) != 1:
            raise InvalidInput(f"the program has several inputs ({', '.join(names)}): pass a dictionary of arrays by name")
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
