"""What a compiled model consists of: its loops in their order, and its arrays and where they are."""

import numpy as np

from deploy_snn.compiled.graph import Lifting
from deploy_snn.compiled.helpers import HELPERS
from deploy_snn.compiled.loops import NUMPY, Array, Convolution, Kernel, LoopProgram, Product, SparseProduct, Storage, Type
from deploy_snn.compiled.names import Namespace, identifier
from deploy_snn.compiled.schedule import Loop, Schedule, schedule
from deploy_snn.compiled.self_check import SelfCheck
from deploy_snn.eager import to_numpy
from deploy_snn.lowering import Lowered

API = (
    "state", "work", "inputs", "outputs", "events", "state_arrays", "weights", "contract", "initial_state", "step", "run",
    "step_events", "load_state", "store_state", "state_size", "set_weights", "weights_size_check", "check", "check_memory",
    "row", "update_shared", "normalise", "H",
)  # fmt: skip
"""What follows the prefix in the names of a compiled model."""


class Model:
    """A captured step as loops and arrays with names in C. ``prefix`` starts every public name."""

    def __init__(self, lowered: Lowered, header_name: str, check_steps: int) -> None:
        self.lowered = lowered
        self.contract = lowered.contract
        self.header_name = header_name
        self.prefix = identifier(lowered.name)
        self.prefix += "_model" if self.prefix in Namespace().taken else ""
        names = Namespace([f"{self.prefix}_{name}" for name in API] + list(HELPERS))
        lifting = Lifting(lowered, names)
        self.program: LoopProgram = lifting.program()
        self.schedule: Schedule = schedule(self.program, names)
        normalisation = lifting.normalisation(self.program.states)
        self.normalisation = schedule(normalisation, names) if normalisation else None
        self.normalised = normalisation.work if normalisation else []
        self.limited = {u.weights: names.add(f"{u.weights.name}_limited") for u in self.schedule.updates if u.event_driven}
        self.initial = to_numpy(lowered.initial_state)
        self.check = SelfCheck(lowered, self.prefix, self.program, check_steps, names) if check_steps else None
        self.starts = self._starts(names)

    @property
    def kernels(self) -> list[Kernel]:
        """The kernels of a step and of the normalisation."""
        steps = self.schedule.steps + (self.normalisation.steps if self.normalisation else [])
        return [step for step in steps if isinstance(step, Kernel)]

    @property
    def external(self) -> list[Array]:
        """The constants in the weights file, the widest elements first, so that nothing is padded."""
        found = [array for array in self.program.constants if array.external]
        return sorted(found, key=lambda array: -np.dtype(NUMPY[array.type]).itemsize)

    def _starts(self, names: Namespace) -> dict[Array, Array]:
        """The constants that hold initial states which are not the same everywhere."""
        found = {}
        for state in self.program.states:
            values = self.initial[state.tensor].reshape(-1)
            if not (values == values[0]).all():
                data = values.astype(NUMPY[state.type])
                found[state] = Array(
                    names.add(f"initial_{state.name}"), state.type, state.size, Storage.CONSTANT, values=data
                )
                self.program.constants.append(found[state])
        return found

    @property
    def row_outputs(self) -> list[Array]:
        """The outputs that each row of a batch has."""
        recorded = {output for output, _ in self.program.recorded}
        return [array for array in self.program.outputs if array not in recorded]

    @property
    def shares(self) -> bool:
        """Whether rows of a batch share a state that changes."""
        return bool(self.schedule.shared or self.schedule.updates)

    def state_types(self) -> list[str]:
        """The element types of the states in the contract."""
        return ["uint8_t" if spec.dtype == "bool" else "float" for spec in self.contract.states]

    def work_arrays(self) -> list[Array]:
        """The scratch memory that the loops and kernels use."""
        steps = [*self.schedule.steps, *self.schedule.shared, *(self.normalisation.steps if self.normalisation else ())]
        used = {
            view.array
            for step in steps
            for view in ([v for value in step.values for v in value.stores] if isinstance(step, Loop) else [])
        } | {kernel.out for kernel in self.kernels}
        terms = [term.array for update in self.schedule.updates for term in update.terms]
        work = [array for array in [*self.program.work, *self.normalised] if array in used]
        return [*(array for array in work if array.size > 1 or array.shared), *terms]

    def locals(self) -> list[Array]:
        """The scratch memory of one element, which is a local variable."""
        return [a for a in self.program.work if a.storage is Storage.WORK and a.size == 1 and not a.shared]

    def lists(self) -> list[Array]:
        """The scratch memory of the kernels: a list of the neurons that spiked, and integer sums."""
        products = [k for k in self.kernels if isinstance(k, Product) and hasattr(k.w, "array")]
        integers = [kernel.out.size for kernel in self.kernels if _weights_of(kernel) in (Type.INT8, Type.INT16)]
        found = []
        listed = [k.z.size for k in products] + [max(u.extents) for u in self.schedule.updates if u.event_driven]
        if listed:
            found.append(Array("list", Type.INT32, max(listed), Storage.WORK))
        if integers:
            found.append(Array("sums", Type.INT32, max(integers), Storage.WORK))
        return found

    def work_bytes(self) -> int:
        """The size of all scratch memory."""
        return sum(bytes_of(array) for array in [*self.work_arrays(), *self.lists()])


def _weights_of(kernel: Kernel) -> Type | None:
    if isinstance(kernel, Product):
        return kernel.w.array.type if hasattr(kernel.w, "array") else None
    if isinstance(kernel, Convolution):
        return kernel.w.type
    return kernel.weight.type if isinstance(kernel, SparseProduct) else None


def bytes_of(array: Array) -> int:
    """The size of an array."""
    return array.size * int(np.dtype(NUMPY[array.type]).itemsize)
