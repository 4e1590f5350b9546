"""A network: named layers, and connections between them, as one program."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from keyword import iskeyword
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from deploy_snn.contract import Contract, Operation, Role, Rounding, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.network.connection import Connection
from deploy_snn.network.grid import is_exact
from deploy_snn.network.layer import Layer
from deploy_snn.network.over_time import Rollout, Wiring
from deploy_snn.network.plan import Component, components
from deploy_snn.network.sequential import add_in_sequence
from deploy_snn.neurons import Input, Nodes
from deploy_snn.program import Program
from deploy_snn.torch_internals import is_scripting, script_export, script_unused

RECORD = "record."


class Network(Program):
    """Layers of neurons, and connections that turn the spikes of one into the drive of another.

    In each step, as in BindsNET, every connection reads its source's spikes of the *previous* step; a layer's drives are
    summed in the order in which its connections were added, then the external input is added; then the layers step in
    order. With ``one_step`` spikes go all the way in one step: a connection reads its source's spikes of this step, if
    that layer comes earlier, and of the previous one if not.

    Inputs are ``NAME.x`` ``[B, *shape]`` of the layers that take one, and ``NAME.noise``, for connections too; outputs are
    ``NAME.s``, the spikes of all layers but ``Input`` ones; a source has its previous spikes as state ``NAME.previous``. A
    graded layer sends numbers where others send spikes; a ``Relay`` or ``DelayLine`` sends what it is given, and is no
    output either.

    Args:
        one_step: feed forward within the step.
        record: more outputs: a layer's ``"X.s"``, or a state such as ``"exc.v"``, which comes out as ``record.exc.v``.
    """

    record: list[str]
    if TYPE_CHECKING:
        layers: dict[str, Layer]
        connections: list[Connection]

    def __init__(self, *, one_step: bool = False, record: Sequence[str] = ()) -> None:
        super().__init__()
        self.one_step = one_step
        self.layers = nn.ModuleDict()  # type: ignore[assignment]
        self.connections = nn.ModuleList()  # type: ignore[assignment]
        self.record = list(dict.fromkeys(record))
        self._checked: object = None

    @classmethod
    def sequential(
        cls, *modules: nn.Module, input_shape: Sequence[int] | None = None, inputs: Literal["values", "spikes"] = "values"
    ) -> Self:
        """A network of modules one after the other, in which spikes go all the way within a step.

        ::

            Network.sequential(nn.Linear(64, 20), LIFNodes(20), nn.Linear(20, 10), LIFNodes(10))

        Args:
            modules: torch's ``Linear``, ``Conv1d`` to ``Conv3d`` and ``Flatten``, connections, and neurons. The neurons become
                the layers ``layer1``, ``layer2``, ...; a connection at the end leads to an output ``output.s`` of numbers.
            input_shape: shape of the input without batch, where it does not follow from the first module.
            inputs: whether ``input.x`` holds numbers, or spikes (not 0).

        Raises:
            InvalidInput: for a module that cannot be taken, and for shapes that do not fit.
        """
        network = cls(one_step=True)
        add_in_sequence(network, modules, input_shape, inputs)
        return network.finish()

    def add_layer(self, neuron: Nodes, name: str, *, external: bool = False) -> None:
        """Add a layer; layers step in this order.

        ``external`` layers take an input ``NAME.x``; ``Input`` layers always do. Raises InvalidInput for a name that is
        taken or is no identifier, a neuron that is a layer already, and a dt unlike the other layers'.
        """
        line = f"add_layer(..., {name!r})"
        if not isinstance(neuron, Nodes):
            raise InvalidInput(f"{line}: {type(neuron).__name__} is no neuron; there is LIFNodes(n=100) and its like")
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise InvalidInput(f"{line}: a name is letters, digits and underscores, and no word of Python's own")
        self._free(name, line)
        if hasattr(self.layers, name):
            raise InvalidInput(f"{line}: torch has this name for something of its own; take another one")
        for layer in self.layers.values():
            if layer.neuron is neuron:
                raise InvalidInput(f"{line}: these neurons are layer {layer.name!r} already: make others")
        others = {float(layer.neuron.dt) for layer in self.layers.values()} - {float(neuron.dt)}
        if others:
            raise InvalidInput(f"{line}: its dt is {float(neuron.dt)}, and that of the others {others.pop()}")
        self.layers[name] = Layer(name, neuron, external=external or isinstance(neuron, Input))

    def add_connection(self, connection: Connection, source: str, target: str) -> None:
        """Connect two layers. Raises InvalidInput for a missing layer, a second connection, or shapes that do not fit."""
        line = f"add_connection(..., {source!r}, {target!r})"
        if not isinstance(connection, Connection):
            raise InvalidInput(f"{line}: {type(connection).__name__} is no connection; there is Dense(w) and its like")
        for end in (source, target):
            if end not in self.layers:
                raise InvalidInput(f"{line}: there is no layer {end!r}; there is {', '.join(self.layers) or 'none yet'}")
        if any((connection.source, connection.target) == (source, target) for connection in self.connections):
            raise InvalidInput(f"{line}: these two are connected already; add the weights up in one connection")
        if isinstance(self.layers[target].neuron, Input):
            raise InvalidInput(f"{line}: {target!r} is an Input layer, which takes nothing but its own input")
        self._free(f"{source}_to_{target}", line)
        connection.attach(source, self.layers[source].shape, target, self.layers[target].shape)
        order = list(self.layers)
        self.layers[source].is_source = True
        self.layers[source].remembers |= not self.one_step or order.index(target) <= order.index(source)
        self.connections.append(connection)

    def _free(self, name: str, line: str) -> None:
        """Raise InvalidInput if states of this name would be another layer's or connection's as well."""
        if name in self.layers:
            raise InvalidInput(f"{line}: there is a layer of this name already: {name!r}")
        for connection in self.connections:
            if connection.name == name:
                ends = f"from {connection.source!r} to {connection.target!r}"
                raise InvalidInput(f"{line}: the connection {ends} is called {name!r} already: rename a layer")

    def finish(self) -> Self:
        """Check the whole network, as ``contract`` does, and return it. Raises InvalidInput for what is missing."""
        _ = self.contract
        return self

    @property
    def contract(self) -> Contract:
        layers = list(self.layers.values())
        if not layers:
            raise InvalidInput("an empty network: add_layer(...) first")
        fed = {connection.target for connection in self.connections}
        for layer in layers:
            if not (layer.external or layer.name in fed or layer.neuron.steps_without_input):
                raise InvalidInput(
                    f"layer {layer.name!r} has no input: add_connection(..., target={layer.name!r}), "
                    f"or add_layer(..., {layer.name!r}, external=True)"
                )
        tensors = [spec for layer in layers for spec in layer.tensors()] + self._memories()
        tensors += [connection.noise() for connection in self.connections if connection.TAKES_NOISE]
        if not any(spec.role in (Role.DRIVE, Role.NOISE) for spec in tensors):
            raise InvalidInput("no layer takes an input: add_layer(..., external=True), or an Input layer")
        sent = {f"{layer.name}.s": layer.sent() for layer in layers}
        states = {spec.name: spec for spec in tensors if spec.role is Role.STATE}
        shown = [spec for layer, spec in zip(layers, sent.values(), strict=True) if not layer.is_passthrough]
        for name in self.record:
            if name in states:
                shown.append(states[name].replaced(name=RECORD + name, role=Role.RECORD, kind=None))
            elif name not in sent:
                raise InvalidInput(f"record={name!r}: there is {', '.join([*sent, *states])}")
            elif sent[name] not in shown:
                shown.append(sent[name])
        rounding = [
            Rounding(tensor=f"{layer.name}.{rounded.tensor}", operation=rounded.operation)
            for layer in layers
            for rounded in layer.neuron.rounding()
        ]
        rounding += [
            Rounding(tensor=connection.name, operation=Operation.SUM if connection.EXACT != "never" else Operation.UNKNOWN)
            for connection in self.connections
            if not is_exact(connection, graded=self.layers[connection.source].graded)
        ]
        return Contract(
            dt=layers[0].neuron.dt_in_ms(),
            tensors=(*tensors, *shown),
            rounding=tuple(rounding),
        )

    @script_export
    def initial_state(self, batch: int) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for layer in self.layers.values():
            state.update(layer.initial_state(batch))
        for connection in self.connections:
            for name, value in connection.resting_state().items():
                state[connection.name + "." + name] = value.expand([batch] + list(value.shape)).clone()
        return state

    def forward(  # noqa: C901, PLR0912  (TorchScript unrolls loops over modules, and takes no module as an argument)
        self, inputs: dict[str, Tensor], state: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if not is_scripting() and not torch.compiler.is_compiling():
            self._check(inputs, state)
        after: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        spiked: dict[str, Tensor] = {}
        drives: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            if layer.remembers:
                spiked[name] = state[name + ".previous"]
        if not self.one_step:
            for connection in self.connections:
                drive = connection(spiked[connection.source], inputs, state, after)
                drives[connection.target] = drives[connection.target] + drive if connection.target in drives else drive
        for name, layer in self.layers.items():
            if self.one_step:
                for connection in self.connections:
                    if connection.target == name:
                        drive = connection(spiked[connection.source], inputs, state, after)
                        drives[name] = drives[name] + drive if name in drives else drive
            x: Tensor | None = None
            if name in drives:
                x = drives[name]
            if layer.external:
                given = inputs[name + ".x"]
                x = given if x is None else x + given
            s = layer(x, inputs, state, after)
            if layer.is_source:
                z = s.clone() if layer.graded else s.to(torch.float32)
                if layer.remembers:
                    after[name + ".previous"] = z
                if self.one_step:
                    spiked[name] = z
            if not layer.is_passthrough or name + ".s" in self.record:
                outputs[name + ".s"] = s.clone() if layer.graded else s  # what is sent may be a state as well
        for name in self.record:
            if name in after:
                outputs["record." + name] = after[name].clone()
        return outputs, after

    def over_time(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        rollout = Rollout(
            Wiring(dict(self.layers.items()), list(self.connections), self.one_step, self.record), inputs, state
        )
        for component in self.plan():
            rollout.run(component)
        return rollout.outputs, rollout.last

    def plan(self) -> list[Component]:
        """The components that run one after the other over a whole sequence."""
        still = [name for name, layer in self.layers.items() if not layer.own and not layer.window]
        return components(list(self.layers), self.connections, still)

    def plan_in_words(self) -> tuple[str, ...]:
        return tuple(map(str, self.plan()))

    def threshold_inputs(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as hooks:
            for layer in self.layers.values():
                hooks.enter_context(_Watch(layer, seen))
            self(inputs, state)
        return seen

    @script_unused
    def _check(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        seen = [(name, t.shape, t.dtype) for given in (inputs, state) for name, t in given.items()]
        if seen == self._checked:  # the step before was given the same shapes
            return
        contract = self.contract
        check_tensors(contract.states, state, "state", check_tensors(contract.inputs, inputs, "input"))
        self._checked = seen

    def _memories(self) -> list[TensorSpec]:
        """The states of connections that have a memory."""
        return [
            spec.over(connection.source_shape).owned_by(connection.name)
            for connection in self.connections
            for spec in connection.STATES
        ]


class _Watch(AbstractContextManager[None]):
    """Note what the comparison of a layer sees while the network steps."""

    def __init__(self, layer: Layer, seen: dict[str, tuple[Tensor, Tensor]]) -> None:
        def note(neuron: nn.Module, given: tuple[Tensor, dict[str, Tensor], Tensor | None]) -> None:
            assert isinstance(neuron, Nodes)
            x, state, noise = given
            if not neuron.graded:
                drive = torch.zeros_like(state["v"]) if x is None else x
                seen[f"{layer.name}.s"] = neuron.threshold_inputs(drive, state, noise)

        self._hook = layer.neuron.register_forward_pre_hook(note)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
