"""Writing a network as a Python file with ``build()``, one line for each layer and connection, and a file of tensors."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deploy_snn.network import (
    Connection,
    LocalConnection1d,
    LocalConnection2d,
    LocalConnection3d,
    Network,
    Sparse,
)
from deploy_snn.network.layer import Layer
from deploy_snn.network.local import Local
from deploy_snn.neurons import Nodes, keywords

WIDTH, INDENT = 124, 4


@dataclass(frozen=True)
class Definition:
    """A Python file's text, and the tensors it reads from the ``.safetensors`` file of the same name."""

    text: str
    tensors: Mapping[str, Tensor]


def define(network: Network, about: str) -> Definition:
    """Write a network as a definition, whose ``build()`` returns the same layers, connections and numbers.

    ``about`` is the docstring of the file.
    """
    return _Writing(network).definition(about)


class _Writing:
    """Writes one definition, and collects the tensors that its lines refer to."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.tensors: dict[str, Tensor] = {}

    def definition(self, about: str) -> Definition:
        network = self.network
        options = {"one_step": network.one_step, "record": network.record}
        lines = call("network = ", "Network", {name: repr(value) for name, value in options.items() if value}, "")
        for layer in network.layers.values():
            lines += self._layer(layer)
        for connection in network.connections:
            arguments = {
                name: self._number(f"{connection.name}.{name}", value) for name, value in _arguments(connection).items()
            }
            lines += call(
                "network.add_connection(", _class(connection), arguments, f', "{connection.source}", "{connection.target}")'
            )
        saved = ['saved = load_file(Path(__file__).with_suffix(".safetensors"))'] if self.tensors else []
        body = "\n".join(f"    {line}" for line in [*saved, *lines, "return network"])
        shapes = ", ".join(f"``{layer.name}`` {list(layer.shape)}" for layer in network.layers.values())
        docstring = about.replace("\\", "\\\\").replace('"', "'")
        heading = f'"""{docstring}\n"""\n\n{self._imports()}\n\n\n'
        return Definition(f'{heading}def build() -> Network:\n    """{shapes}."""\n{body}\n', self.tensors)

    def _layer(self, layer: Layer) -> list[str]:
        neuron = layer.neuron
        chosen = _chosen(neuron)
        fresh = type(neuron)(**chosen)
        shown = {name: self._number(f"{layer.name}.{name}", value) for name, value in chosen.items()}
        cls = type(neuron).__name__
        outside = ", external=True" if layer.external and not layer.is_input else ""
        # Buffers whose values differ from those that the constructor computes or draws, such as learnt thresholds.
        computed = {name: value for name, value in neuron.named_buffers() if not _same(value, fresh.get_buffer(name))}
        if not computed:
            return call("network.add_layer(", cls, shown, f', "{layer.name}"{outside})')
        variable = layer.name if layer.name not in ("network", "saved", "load_file", "Path", "torch") else f"{layer.name}_"
        assignments = [
            f"{variable}.{name} = {self._saved(f'{layer.name}.{name}', value)}" for name, value in computed.items()
        ]
        return [
            *call(f"{variable} = ", cls, shown, ""),
            *assignments,
            f'network.add_layer({variable}, "{layer.name}"{outside})',
        ]

    def _number(self, name: str, value: Any) -> str:
        """The source code of a value: a number itself, or a reference to a tensor in the file beside it."""
        if isinstance(value, list) and len(set(value)) == 1:
            return repr(value[0])
        if not isinstance(value, Tensor):
            return repr(value)
        if value.layout == torch.sparse_coo:
            indices, values = self._saved(f"{name}.indices", value.indices()), self._saved(f"{name}.values", value.values())
            return f"torch.sparse_coo_tensor({indices}, {values}, {tuple(value.shape)}, check_invariants=True)"
        if value.dim() == 0 and value.isfinite():
            return repr(float(str(value.numpy())))  # the shortest decimal that gives this float32
        return self._saved(name, value)

    def _saved(self, name: str, value: Tensor) -> str:
        self.tensors[name] = value.contiguous()
        return f'saved["{name}"]'

    def _imports(self) -> str:
        connections = sorted({"Network", *(_class(connection) for connection in self.network.connections)})
        neurons = sorted({type(layer.neuron).__name__ for layer in self.network.layers.values()})
        is_sparse = any(isinstance(connection, Sparse) for connection in self.network.connections)
        torch_import = ["import torch"] if is_sparse else []
        reading = ["from pathlib import Path", "", *torch_import, "from safetensors.torch import load_file", ""]
        reading = reading if self.tensors else []
        imports = (("deploy_snn.network", connections), ("deploy_snn.neurons", neurons))
        return "\n".join([*reading, *(line for place, names in imports for line in _import(place, names))])


def call(head: str, name: str, arguments: Mapping[str, str], tail: str) -> list[str]:
    """The source code of a call between ``head`` and ``tail``, on one line if it fits. Weights are positional."""
    given = [text if key == "w" else f"{key}={text}" for key, text in arguments.items()]
    line = f"{head}{name}({', '.join(given)}){tail}"
    if len(line) + INDENT <= WIDTH:
        return [line]
    return [f"{head}{name}(", *(f"    {argument}," for argument in given), f"){tail}"]


def _import(place: str, names: Sequence[str]) -> list[str]:
    line = f"from {place} import {', '.join(names)}"
    return [line] if len(line) <= WIDTH else [f"from {place} import (", *(f"    {name}," for name in names), ")"]


def _class(connection: Connection) -> str:
    return type(connection).__name__


def _chosen(neuron: Nodes) -> dict[str, Any]:
    """The keywords of a neuron: its shape, and all that differ from the defaults."""
    cls = type(neuron)
    size: dict[str, Any] = {"n": neuron.n} if len(neuron.shape) == 1 else {"shape": neuron.shape}
    plain = cls(**size)
    chosen = {name: getattr(neuron, name) for name in keywords(cls) if name not in ("n", "shape", "dt")}
    differing = {name: value for name, value in chosen.items() if not _same(value, getattr(plain, name))}
    dt = {} if neuron.dt_in_ms() == 1 else {"dt": neuron.dt_in_ms()}
    return size | differing | dt


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def _arguments(connection: Connection) -> dict[str, Any]:
    """The arguments of a connection's constructor, without those that equal the default."""
    parameters = inspect.signature(type(connection)).parameters
    recover = _RECOVERED.get(type(connection))
    values = {name: getattr(connection, name) for name in parameters if not (recover and name == "w")}
    weights = {"w": recover(connection)} if recover else {}
    return weights | {name: value for name, value in values.items() if not _is_default(connection, name, value)}


def _is_default(connection: Connection, name: str, value: Any) -> bool:
    default = inspect.signature(type(connection)).parameters[name].default
    if isinstance(value, list) and isinstance(default, int):
        default = [default] * len(value)
    if isinstance(value, Tensor) and isinstance(default, float):
        default = torch.tensor(default)
    return _same(value, default)


_RECOVERED: dict[type[Connection], Callable[[Any], Tensor]] = {
    Sparse: Sparse.matrix,
    LocalConnection1d: Local.filters,
    LocalConnection2d: Local.filters,
    LocalConnection3d: Local.filters,
}
