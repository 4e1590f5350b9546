"""A network: named layers, and connections between them, as one program."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from keyword import iskeyword
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from deploy_snn.contract import BATCH, Contract, Operation, Role, Rounding, TensorSpec, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.learning import Rule
from deploy_snn.network.connection import Connection, PlasticConnection
from deploy_snn.network.grid import is_exact
from deploy_snn.network.layer import Layer
from deploy_snn.network.over_time import Graph, SequenceRun
from deploy_snn.network.plan import Component, components
from deploy_snn.network.sequential import add_in_sequence
from deploy_snn.neurons import Input, Nodes
from deploy_snn.program import Program
from deploy_snn.torch_internals import is_scripting, script_export, script_unused

RECORD = "record."
REWARD = TensorSpec(name="reward", role=Role.REWARD, axes=(BATCH,))
"""The reward of a step, for the learning rules that read one."""


class Network(Program):
    """Layers of neurons, and connections that turn the spikes of one layer into the drive of another.

    In each step, every connection reads its source's spikes of the *previous* step, as in BindsNET. A layer's drive is the
    sum over its connections, in the order in which they were added; the external input is added last. Then the layers step
    in order. With ``one_step``, spikes pass through all layers within one step: a connection reads its source's spikes of
    this step if the source is an earlier layer than the target, and of the previous step otherwise.

    Inputs are ``NAME.x`` ``[B, *shape]`` for each external layer, and ``NAME.noise`` for each stochastic layer or
    connection. Outputs are ``NAME.s``, the spikes of each layer; a graded layer outputs numbers. ``Input``, ``Relay`` and
    ``DelayLine`` layers only forward their input, so they are not outputs. A layer whose previous spikes are needed has
    them as the state ``NAME.previous``.

    A connection with a learning rule changes its weights after all layers have stepped. Its weights are the state
    ``SOURCE_to_TARGET.w``. A rule that needs a reward adds the input ``reward`` ``[B]``.

    Args:
        one_step: pass spikes through all layers within one step.
        record: additional outputs: a layer's ``"X.s"``, or a state such as ``"exc.v"``, which becomes ``record.exc.v``.
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
        """Build a feed-forward network from a sequence of modules. Spikes pass through all of them within one step.

        ::

            Network.sequential(nn.Linear(64, 20), LIFNodes(20), nn.Linear(20, 10), LIFNodes(10))

        Args:
            modules: torch's ``Linear``, ``Conv1d`` to ``Conv3d`` and ``Flatten``, connections, and neurons. The neurons
                become the layers ``layer1``, ``layer2``, ... If the last module is a connection, the network outputs its
                numbers as ``output.s``.
            input_shape: shape of the input without the batch axis. Needed only if the first module does not determine it.
            inputs: "values" if ``input.x`` holds numbers; "spikes" if every nonzero element of ``input.x`` is a spike.

        Raises:
            InvalidInput: for an unsupported module, and for shapes that do not fit.
        """
        network = cls(one_step=True)
        add_in_sequence(network, modules, input_shape, inputs)
        return network.finish()

    def add_layer(self, neuron: Nodes, name: str, *, external: bool = False) -> None:
        """Add a layer. Layers step in the order in which they were added.

        An ``external`` layer has an input ``NAME.x``; an ``Input`` layer always has one. Raises InvalidInput if the name is
        in use or not an identifier, if the neurons are already in a layer, or if their dt differs from the other layers'.
        """
        call = f"add_layer(..., {name!r})"
        if not isinstance(neuron, Nodes):
            raise InvalidInput(f"{call}: expected a neuron such as LIFNodes(n=100), not a {type(neuron).__name__}")
        if not isinstance(name, str) or not name.isidentifier() or iskeyword(name):
            raise InvalidInput(
                f"{call}: a name must be a Python identifier (letters, digits, underscores) and not a keyword"
            )
        self._check_name_is_free(name, call)
        if hasattr(self.layers, name):
            raise InvalidInput(f"{call}: torch uses the name {name!r} itself; choose another one")
        for layer in self.layers.values():
            if layer.neuron is neuron:
                raise InvalidInput(f"{call}: these neurons are already layer {layer.name!r}; create new ones")
        others = {float(layer.neuron.dt) for layer in self.layers.values()} - {float(neuron.dt)}
        if others:
            raise InvalidInput(f"{call}: dt is {float(neuron.dt)} ms, but the other layers have {others.pop()} ms")
        self.layers[name] = Layer(name, neuron, external=external or isinstance(neuron, Input))

    def add_connection(self, connection: Connection, source: str, target: str) -> None:
        """Connect two layers.

        Raises InvalidInput for an unknown layer, a second connection between the same layers, and shapes that do not fit.
        """
        call = f"add_connection(..., {source!r}, {target!r})"
        if not isinstance(connection, Connection):
            raise InvalidInput(f"{call}: expected a connection such as Dense(w), not a {type(connection).__name__}")
        for name in (source, target):
            if name not in self.layers:
                known = f"choose from {', '.join(self.layers)}" if self.layers else "the network has no layers yet"
                raise InvalidInput(f"{call}: unknown layer {name!r}; {known}")
        if any((connection.source, connection.target) == (source, target) for connection in self.connections):
            raise InvalidInput(
                f"{call}: these layers are already connected; put the sum of the weights into one connection"
            )
        if isinstance(self.layers[target].neuron, Input):
            raise InvalidInput(f"{call}: {target!r} is an Input layer, which cannot be a target")
        self._check_name_is_free(f"{source}_to_{target}", call)
        if isinstance(connection, PlasticConnection) and connection.plastic:
            self._check_ends(connection, source, target, call)
        connection.attach(source, self.layers[source].shape, target, self.layers[target].shape)
        if isinstance(connection, PlasticConnection):
            connection.attach_rule(self.layers[source].neuron.dt_in_ms())
        if connection.plastic:
            self.layers[source].teaches = self.layers[target].teaches = True
        order = list(self.layers)
        self.layers[source].is_source = True
        self.layers[source].remembers |= not self.one_step or order.index(target) <= order.index(source)
        self.connections.append(connection)

    def _check_ends(self, connection: PlasticConnection, source: str, target: str, call: str) -> None:
        """Raise InvalidInput if one of the layers does not provide what the connection's rule reads."""
        rule = connection.rule
        assert rule is not None
        what = f"{call}: the rule {type(rule).__name__}"
        for name, reads_trace in ((source, rule.reads_source_trace), (target, rule.reads_target_trace)):
            neuron = self.layers[name].neuron
            if neuron.graded:
                raise InvalidInput(f"{what} reads spikes, and layer {name!r} sends numbers")
            if reads_trace and not neuron.traces:
                raise InvalidInput(f"{what} reads the spike trace of layer {name!r}: pass traces=True to its neurons")
            if reads_trace and not neuron.traces_additive and (neuron.trace_scale != 1).any():
                raise InvalidInput(
                    f"{what} reads the spike trace of layer {name!r}, whose trace_scale has no effect: a spike sets "
                    "the trace to 1; pass traces_additive=True, or trace_scale=1"
                )
        if rule.reads_probability and "probability" not in self.layers[target].own:
            raise InvalidInput(
                f"{what} reads the spike probability of layer {target!r}: expected SRM0Nodes(..., probability=True)"
            )

    def _check_name_is_free(self, name: str, call: str) -> None:
        """Raise InvalidInput if a layer or a connection already has this name."""
        if name in self.layers:
            raise InvalidInput(f"{call}: the name {name!r} is already in use by a layer")
        for connection in self.connections:
            if connection.name == name:
                layers = f"from {connection.source!r} to {connection.target!r}"
                raise InvalidInput(
                    f"{call}: the name {name!r} is already in use by the connection {layers}; rename a layer"
                )

    def finish(self) -> Self:
        """Check the whole network and return it. Raises InvalidInput if it is incomplete."""
        _ = self.contract  # building the contract is the check
        return self

    @property
    def contract(self) -> Contract:  # noqa: C901
        layers = list(self.layers.values())
        if not layers:
            raise InvalidInput("the network is empty; call add_layer(...) first")
        targets = {connection.target for connection in self.connections}
        for layer in layers:
            if not (layer.external or layer.name in targets or layer.neuron.steps_without_input):
                raise InvalidInput(
                    f"layer {layer.name!r} has no input: call add_connection(..., target={layer.name!r}), "
                    f"or add_layer(..., {layer.name!r}, external=True)"
                )
        tensors = [spec for layer in layers for spec in layer.tensors()] + self._connection_states()
        tensors += [connection.noise() for connection in self.connections if connection.TAKES_NOISE]
        if any(rule.reads_reward for rule in self._rules()):
            tensors.append(REWARD)
        if not any(spec.role in (Role.DRIVE, Role.NOISE) for spec in tensors):
            raise InvalidInput("the network has no input: call add_layer(..., external=True), or add an Input layer")
        layer_outputs = {f"{layer.name}.s": layer.sent() for layer in layers}
        states = {spec.name: spec for spec in tensors if spec.role is Role.STATE}
        outputs = [spec for layer, spec in zip(layers, layer_outputs.values(), strict=True) if not layer.is_passthrough]
        for name in self.record:
            if name in states:
                outputs.append(states[name].replaced(name=RECORD + name, role=Role.RECORD, kind=None))
            elif name not in layer_outputs:
                raise InvalidInput(f"record: unknown name {name!r}; choose from {', '.join([*layer_outputs, *states])}")
            elif layer_outputs[name] not in outputs:
                outputs.append(layer_outputs[name])
        if not outputs:
            raise InvalidInput(
                f"the network has no output: add a layer that spikes, or record one: record=[{next(iter(layer_outputs))!r}]"
            )
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
        # The sum over the rows of a batch.
        rounding += [
            Rounding(tensor=f"{connection.name}.w", operation=Operation.SUM)
            for connection in self.connections
            if connection.plastic
        ]
        return Contract(
            dt=layers[0].neuron.dt_in_ms(),
            tensors=(*tensors, *outputs),
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
            if connection.plastic:
                for name, value in connection.learning_state(batch).items():
                    state[connection.name + "." + name] = value
        return state

    @script_export
    def normalise(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        scaled: dict[str, Tensor] = {}
        for connection in self.connections:
            if connection.normalises:
                scaled[connection.name + ".w"] = connection.normalise(state[connection.name + ".w"])
        return scaled

    def forward(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.advance(inputs, state, False)

    def advance(  # noqa: C901, PLR0912  (TorchScript unrolls loops over modules, and cannot pass a module to a function)
        self, inputs: dict[str, Tensor], state: dict[str, Tensor], owned: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if not is_scripting() and not torch.compiler.is_compiling():
            self._check(inputs, state)
        after: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        spiked: dict[str, Tensor] = {}
        drives: dict[str, Tensor] = {}
        fired: dict[str, Tensor] = {}
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
                external = inputs[name + ".x"]
                x = external if x is None else x + external
            s = layer(x, inputs, state, after)
            if layer.is_source:
                z = s.clone() if layer.graded else s.to(torch.float32)
                if layer.remembers:
                    after[name + ".previous"] = z
                if self.one_step:
                    spiked[name] = z
            if layer.teaches:
                fired[name] = s.to(torch.float32)
            if not layer.is_passthrough or name + ".s" in self.record:
                outputs[name + ".s"] = s.clone() if layer.graded else s  # a graded output may be the same tensor as a state
        for connection in self.connections:
            if connection.plastic:
                connection.learn(fired, inputs, state, after, owned)
        for name in self.record:
            if name in after:
                outputs["record." + name] = after[name].clone()
        return outputs, after

    def over_time(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        graph = Graph(self, dict(self.layers.items()), list(self.connections), self.one_step, self.record)
        sequence_run = SequenceRun(graph, inputs, state)
        for component in self.plan():
            sequence_run.run(component)
        return sequence_run.outputs, sequence_run.last

    def plan(self) -> list[Component]:
        """The components in the order in which they run, each over the whole sequence."""
        stateless = [name for name, layer in self.layers.items() if not layer.own and not layer.window]
        return components(list(self.layers), self.connections, stateless)

    def plan_in_words(self) -> tuple[str, ...]:
        return tuple(map(str, self.plan()))

    def threshold_inputs(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        compared: dict[str, tuple[Tensor, Tensor]] = {}
        with ExitStack() as hooks:
            for layer in self.layers.values():
                hooks.enter_context(_ThresholdHook(layer, compared))
            self(inputs, state)
        return compared

    @script_unused
    def _check(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        shapes = [(name, t.shape, t.dtype) for tensors in (inputs, state) for name, t in tensors.items()]
        if shapes == self._checked:  # the previous step had the same shapes
            return
        contract = self.contract
        check_tensors(contract.states, state, "state", check_tensors(contract.inputs, inputs, "input"))
        self._checked = shapes

    def _connection_states(self) -> list[TensorSpec]:
        """The records of the connections' own states."""
        return [
            spec.over(connection.source_shape).owned_by(connection.name)
            for connection in self.connections
            for spec in connection.STATES
        ] + [spec for connection in self.connections for spec in connection.learning_specs()]

    def _rules(self) -> list[Rule]:
        """The rules that learn."""
        return [
            connection.rule
            for connection in self.connections
            if isinstance(connection, PlasticConnection) and connection.rule is not None and connection.plastic
        ]


class _ThresholdHook(AbstractContextManager[None]):
    """Records the operands of a layer's threshold comparison while the network steps."""

    def __init__(self, layer: Layer, compared: dict[str, tuple[Tensor, Tensor]]) -> None:
        def record(neuron: nn.Module, arguments: tuple[Tensor, dict[str, Tensor], Tensor | None]) -> None:
            assert isinstance(neuron, Nodes)
            x, state, noise = arguments
            if not neuron.graded:
                drive = torch.zeros_like(state["v"]) if x is None else x
                compared[f"{layer.name}.s"] = neuron.threshold_inputs(drive, state, noise)

        self._hook = layer.neuron.register_forward_pre_hook(record)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
