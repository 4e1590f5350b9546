"""A single neuron class as a program."""

from torch import Tensor

from deploy_snn.contract import Contract
from deploy_snn.neurons.nodes import Nodes
from deploy_snn.program import Program
from deploy_snn.torch_internals import script_export


class NeuronProgram(Program):
    """A population of neurons as ``{"s": spikes}, next_state = program({"x": drive}, state)``.

    For a stochastic class, the inputs are ``{"x": drive, "noise": noise}``.
    """

    def __init__(self, neuron: Nodes) -> None:
        super().__init__()
        self.neuron = neuron

    @property
    def contract(self) -> Contract:
        return self.neuron.contract

    def forward(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        s, after = self.neuron(inputs["x"], state, self.noise(inputs))
        return {"s": s.clone() if self.neuron.graded else s}, after  # may be the same tensor as a state or the drive

    def noise(self, inputs: dict[str, Tensor]) -> Tensor | None:
        return inputs["noise"] if self.neuron.stochastic else None

    @script_export
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        return self.neuron.initial_state(batch)

    def over_time(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if not state:  # the steps are independent: compute all of them at once
            return self.forward(inputs, state)
        return super().over_time(inputs, state)

    def threshold_inputs(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        return {} if self.neuron.graded else {"s": self.neuron.threshold_inputs(inputs["x"], state, self.noise(inputs))}
