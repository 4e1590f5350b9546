"""Assembly of a network from the parts of a module, in their order."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.importers.imported import Imported
from deploy_snn.importers.layer_names import free_name
from deploy_snn.importers.torch_modules.part import Container, Dropped, Link, Neurons, Normalisation, Part, own_class
from deploy_snn.network import Connection, Conv1d, Conv2d, Conv3d, Dense, Network, OneToOne, Reshape
from deploy_snn.neurons import Input, Nodes, Relay
from deploy_snn.registry import FRAMEWORKS

Shape = tuple[int, ...]
Placed = tuple[str, nn.Module, Part]
"""A module with its path in the model, and its part of the network."""

OPTIONS = ("input_shape", "dt", "inputs")
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def read_module(module: nn.Module, options: dict[str, Any]) -> Imported:
    """Read a torch module in eval mode as a network. Spikes pass through all layers within one step.

    Args:
        module: an ``nn.Sequential``, also nested, of torch's layers and the neurons of the registry's frameworks.
        options: ``input_shape``, the shape of the input without the batch axis, needed unless the first layer is a Linear;
            ``dt``, the length of a step in ms, by default that of the cells or 1; ``inputs``, "values" or "spikes".

    Raises InvalidInput, naming the module, for what has no counterpart.
    """
    unknown = options.keys() - set(OPTIONS)
    if unknown:
        raise InvalidInput(f"a torch module has no option {', '.join(sorted(unknown))}; it has {', '.join(OPTIONS)}")
    placed = list(_parts("", module))
    _check(placed)
    notes = [
        f"{_named(path, part)}: {entry.note}" for path, part, entry in placed if isinstance(entry, Dropped) if entry.note
    ]
    network = _Assembly(placed, **options).network
    return Imported(network, tuple(notes))


def _named(path: str, module: nn.Module) -> str:
    return f"module '{path}' ({own_class(module).__name__})" if path else f"the module ({own_class(module).__name__})"


@contextmanager
def _naming(path: str, module: nn.Module) -> Iterator[None]:
    """Prefix errors with the name of a module."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{_named(path, module)}: {error}") from None


def _parts(path: str, module: nn.Module) -> Iterator[Placed]:
    """The parts of a module and its children in order, without the containers."""
    with _naming(path, module):
        part = _part_of(module)
    if not isinstance(part, Container):
        yield path, module, part
        return
    for name, child in part.children:
        yield from _parts(f"{path}.{name}" if path else name, child)


def _part_of(module: nn.Module) -> Part:
    if isinstance(module, Nodes | Connection):
        raise InvalidInput("it is a module of deploy_snn: build the network with Network.sequential(...)")
    if any(vars(module).get(hooks) for hooks in HOOKS):
        raise InvalidInput("it has forward hooks, which cannot be read: remove them first")
    # A subclass of a container counts as a container unless it has its own forward.
    cls = own_class(module)
    owner = nn.Sequential if cls.forward is nn.Sequential.forward else cls
    framework = owner.__module__.partition(".")[0]
    if framework not in FRAMEWORKS or "forward" in vars(module):
        known = ", ".join(FRAMEWORKS)
        raise InvalidInput(
            f"its forward is code of its own, which cannot be read; expected nn.Sequential, and modules of {known}"
        )
    for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if tensor.is_floating_point() and tensor.dim() and tensor.dtype != torch.float32:
            raise InvalidInput(f"its {name} is {str(tensor.dtype).removeprefix('torch.')}: call float() on the model first")
    part_of: Callable[[nn.Module], Part] = FRAMEWORKS[framework]
    return part_of(module)


def _check(placed: Sequence[Placed]) -> None:
    """Raise InvalidInput for modules that cannot be combined."""
    neurons = [(path, module, part) for path, module, part in placed if isinstance(part, Neurons)]
    if not neurons:
        raise InvalidInput("the module contains no neurons of a known framework")
    seen: dict[int, str] = {}
    for path, module, part in neurons:
        if part.owns_state and id(module) in seen:
            raise InvalidInput(f"{_named(path, module)} is also module '{seen[id(module)]}', and both share its state")
        seen[id(module)] = path
    modes = {str(module.step_mode): _named(path, module) for path, module, _ in placed if hasattr(module, "step_mode")}
    if len(modes) > 1:
        raise InvalidInput(
            " and ".join(f"{name} has step_mode={mode!r}" for mode, name in modes.items()) + ": set one for all"
        )


class _Assembly:
    """A network that is built part by part. ``pending`` is the connection to the next layer."""

    def __init__(
        self,
        placed: Sequence[Placed],
        *,
        input_shape: Sequence[int] | None = None,
        dt: float | None = None,
        inputs: str = "values",
    ) -> None:
        if inputs not in ("values", "spikes"):
            raise InvalidInput(f"inputs={inputs!r}: expected 'values' or 'spikes'")
        self.dt = _dt(placed, dt)
        self.network = Network(one_step=True)
        self.shape = _input_shape(placed, input_shape)
        self.source = "input"
        self.pending: tuple[str, Connection] | None = None
        first: Nodes = Relay(shape=self.shape, dt=self.dt) if inputs == "values" else Input(shape=self.shape, dt=self.dt)
        self.network.add_layer(first, "input", external=True)
        self._add_all(placed)
        self.network.finish()

    def _add_all(self, placed: Sequence[Placed]) -> None:
        for path, module, part in placed:
            with _naming(path, module):
                self._add(path, part)
        if self.pending is not None:
            self._layer(Relay(shape=self.shape, dt=self.dt), "output")
            self.network.record.append(f"{self.source}.s")

    def _add(self, path: str, part: Part) -> None:
        if isinstance(part, Neurons):
            self._layer(part.cls(shape=self.shape, dt=self.dt, **part.options), path or "neurons")
        elif isinstance(part, Normalisation):
            self._fold(part)
        elif isinstance(part, Link):
            if part.axes is not None and len(self.shape) != part.axes:
                raise InvalidInput(f"its input is {list(self.shape)} without the batch, expected {part.axes} axes")
            if self.pending is not None and not self._flattens(part.connection):
                # Two connections in a row need a relay between them.
                self._layer(Relay(shape=self.shape, dt=self.dt), self.pending[0])
            try:
                with torch.no_grad():
                    reached = part.function(torch.zeros(1, *self.shape))
            except RuntimeError as error:
                raise InvalidInput(first_line(error)) from None
            self.pending, self.shape = (path, part.connection), tuple(reached.shape[1:])

    def _flattens(self, connection: Connection) -> bool:
        """Whether a connection flattens its input itself, so that a pending Reshape is unnecessary."""
        return isinstance(connection, Dense) and self.pending is not None and isinstance(self.pending[1], Reshape)

    def _layer(self, neuron: Nodes, path: str) -> None:
        """Add a layer, and the connection that leads to it."""
        name = free_name(path, [*self.network.layers, "output"] if path != "output" else [*self.network.layers])
        self.network.add_layer(neuron, name)
        self.network.add_connection(self.pending[1] if self.pending else OneToOne(1.0), self.source, name)
        self.source, self.pending = name, None

    def _fold(self, part: Normalisation) -> None:
        """Fold a normalisation into the connection before it, in float64 with one rounding at the end."""
        path, layer = self.pending if self.pending is not None else ("", None)
        if not isinstance(layer, Dense | Conv1d | Conv2d | Conv3d):
            raise InvalidInput("it does not follow a Linear or a convolution that it could be folded into")
        if len(self.shape) not in part.axes or len(part.scale) != self.shape[0]:
            raise InvalidInput(f"it normalises {len(part.scale)} channels, and what it reads is {list(self.shape)}")
        bias = part.shift if layer.b is None else layer.b.double() * part.scale + part.shift
        if isinstance(layer, Dense):
            self.pending = path, Dense((layer.w.double() * part.scale).float(), bias.float())
            return
        w = layer.w.double() * part.scale.reshape([-1] + [1] * (layer.axes + 1))
        options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
        self.pending = path, type(layer)(w.float(), bias.float(), **options)


def _dt(placed: Sequence[Placed], dt: float | None) -> float:
    """The length of a step in ms, from the cells if they have one."""
    for path, module, part in placed:
        if isinstance(part, Neurons) and part.dt is not None:
            if dt is not None and dt != part.dt:
                raise InvalidInput(f"{_named(path, module)} has dt={part.dt:g} ms, expected {dt:g} ms as elsewhere")
            dt = part.dt
    return 1.0 if dt is None else dt


def _input_shape(placed: Sequence[Placed], given: Sequence[int] | None) -> Shape:
    if given is not None:
        return tuple(given)
    first = next(part for _, _, part in placed if not isinstance(part, Dropped))
    if isinstance(first, Link) and isinstance(first.connection, Dense):
        return (len(first.connection.w),)
    raise InvalidInput("the shape of the input is unknown: pass input_shape=(channels, height, width), without the batch")
