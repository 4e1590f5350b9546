"""A layer: neurons in a network, with qualified tensor names, a window of past drives, and previous spikes as states."""

import torch
from torch import Tensor, nn

from deploy_snn.contract import BATCH, NEURONS, WINDOW, Kind, Role, TensorSpec
from deploy_snn.neurons import DelayLine, Input, Nodes, Relay
from deploy_snn.torch_internals import script_export

PREVIOUS = TensorSpec(name="previous", role=Role.STATE, kind=Kind.PREVIOUS, initial="0")
"""The output of a layer in the previous step: its spikes as 0.0 and 1.0, or a graded layer's numbers."""

PAST_DRIVES = TensorSpec(
    name="past_drives", role=Role.STATE, kind=Kind.WINDOW, axes=(BATCH, WINDOW, NEURONS), initial="0", unit="mV"
)
"""The drives of the last steps, newest last, for a neuron that needs a window of them."""


class Layer(nn.Module):
    """Neurons with a name. The state ``v`` of the neurons in layer ``exc`` is the network's state ``exc.v``."""

    own: list[str]
    """The unqualified names of the neurons' states."""

    def __init__(self, name: str, neuron: Nodes, *, external: bool) -> None:
        super().__init__()
        self.name = name
        self.neuron = neuron
        self.external = external
        self.shape = neuron.shape
        self.is_source = False
        self.remembers = False  # whether a connection reads its spikes of the previous step
        self.teaches = False  # whether a learning rule reads its spikes
        self.graded = neuron.graded
        self.is_input = isinstance(neuron, Input)
        self.is_passthrough = isinstance(
            neuron, Input | Relay | DelayLine
        )  # it only forwards its drive: not a network output
        window = neuron.sized(neuron.DRIVE).window_axis
        self.window = 0 if window is None else neuron.sized(neuron.DRIVE).axes[window].size or 0
        self.stochastic = neuron.stochastic
        self.own = [spec.name for spec in neuron.contract.states]

    def tensors(self) -> list[TensorSpec]:
        """The records of all its tensors but the output, with qualified names."""
        specs = [spec for spec in self.neuron.contract.tensors if spec.role in (Role.NOISE, Role.STATE)]
        if self.external:
            specs.append(TensorSpec(name="x", role=Role.DRIVE, unit="mV").over(self.shape))
        if self.window > 1:
            specs.append(PAST_DRIVES.over(self.shape, self.window - 1))
        if self.remembers:
            specs.append(PREVIOUS.over(self.shape))
        return [self.qualified(spec) for spec in specs]

    def qualified(self, spec: TensorSpec) -> TensorSpec:
        return spec.owned_by(self.name)

    def sent(self) -> TensorSpec:
        """The record of its output: spikes, or a graded neuron's numbers."""
        return self.qualified(self.neuron.OUTPUT).over(self.shape)

    @script_export
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for name, value in self.neuron.initial_state(batch).items():
            state[self.name + "." + name] = value
        device = self.neuron.dt.device
        if self.window > 1:
            past = torch.zeros([batch, self.window - 1] + list(self.shape), dtype=torch.float32, device=device)
            state[self.name + ".past_drives"] = past
        if self.remembers:
            state[self.name + ".previous"] = torch.zeros([batch] + list(self.shape), dtype=torch.float32, device=device)
        return state

    def forward(
        self, x: Tensor | None, inputs: dict[str, Tensor], state: dict[str, Tensor], after: dict[str, Tensor]
    ) -> Tensor:
        """Step the neurons, write their next state into ``after``, and return their output. ``x`` is the drive, if any."""
        if self.window > 1:
            assert x is not None
            window = torch.cat([state[self.name + ".past_drives"], x.unsqueeze(1)], 1)
            after[self.name + ".past_drives"] = window.narrow(1, 1, self.window - 1).contiguous()
            x = window
        elif self.window == 1:
            assert x is not None
            x = x.unsqueeze(1)
        own: dict[str, Tensor] = {}
        for name in self.own:
            own[name] = state[self.name + "." + name]
        noise: Tensor | None = None
        if self.stochastic:
            noise = inputs[self.name + ".noise"]
        spikes, own_after = self.neuron(x, own, noise)
        s: Tensor = spikes
        for name, value in own_after.items():
            after[self.name + "." + name] = value
        return s
