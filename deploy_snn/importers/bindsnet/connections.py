"""Import of BindsNET's connections, with a reader for each class."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from deploy_snn.importers.bindsnet.features import features_of, is_stochastic, read_pipeline
from deploy_snn.importers.bindsnet.foreign_part import ForeignPart
from deploy_snn.importers.bindsnet.matrix import connection_of, sparse_of
from deploy_snn.importers.bindsnet.saved import name_of
from deploy_snn.learning import Rule
from deploy_snn.network import (
    Connection,
    Conv1d,
    Conv2d,
    Conv3d,
    Dense,
    LocalConnection1d,
    LocalConnection2d,
    LocalConnection3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MeanField,
    StochasticDense,
)
from deploy_snn.neurons import CSRMNodes, Nodes

Reader = Callable[[ForeignPart, Nodes, Nodes], Connection]

LARGEST_DENSE = 2**28
"""The largest dense size of a sparse connection with a bias, in weights."""

WINDOWED = ("Connection", "SparseConnection")
"""The connections that BindsNET supports to neurons with a window of past drives (CSRMNodes)."""


def read_connection(connection: ForeignPart, source: Nodes, target: Nodes, rule: Rule | None = None) -> Connection:
    """Import a connection, with its learning rule if one is given.

    Raises InvalidInput for an unknown class, and for options that would change the spikes.
    """
    read = CONNECTIONS.get(connection.kind.name)
    if read is None or not connection.kind.module.startswith("bindsnet."):
        raise connection.refuse(f"this class cannot be imported; choose from {', '.join(CONNECTIONS)}")
    if connection.get("Dales_rule", None) is not None:
        raise connection.refuse(
            "its Dales_rule makes BindsNET 0.3.4 set all weights to 0 after the first step: remove the rule"
        )
    if isinstance(target, CSRMNodes):
        if connection.kind.name not in WINDOWED:
            raise connection.refuse(f"BindsNET can connect nothing but {' and '.join(WINDOWED)} to CSRMNodes")
        if _bias(connection) is not None:
            raise connection.refuse("its bias also acts on the steps before the first one, where it leads to CSRMNodes")
    if rule is not None:
        return _with_rule(connection, target, rule)
    return read(connection, source, target)


def _with_rule(connection: ForeignPart, target: Nodes, rule: Rule) -> Connection:
    """A connection that learns. Its weights stay dense, since weights of 0 can change too."""
    name = connection.kind.name
    if name == "MulticompartmentConnection":
        (feature,) = features_of(connection)
        return Dense(feature.weights("value"), rule=rule)
    w = connection.weights("w")
    if name == "Connection":
        return Dense(w, _bias_of(connection, target), rule=rule)
    if name in _LOCAL:
        return _LOCAL[name](w, connection.sizes("kernel_size"), connection.sizes("stride"), rule=rule)
    return _CONVOLUTIONS[name](w, _bias(connection), rule=rule, **_geometry(connection))


def left_behind_in(connection: ForeignPart, *, learns: bool = False) -> list[str]:
    """List, a sentence each, what a connection does in BindsNET that is not imported: learning, normalisation, decay.

    ``learns`` says whether its rule was imported, which includes norm and decay.
    """
    if learns:
        return []
    rules = [(connection.get("update_rule", None), connection.get("norm", None), "")]
    rules += [
        (feature.get("learning_rule", None), feature.get("norm", None), f" of feature {feature.get('name')!r}")
        for feature in features_of(connection)
    ]
    sentences = []
    for rule, norm, owner in rules:
        if rule is not None and name_of(rule).name != "NoOp":
            sentences.append(
                f"{connection.label}: learning rule {name_of(rule).name}{owner}; the weights stay as they were saved"
            )
        if norm is not None:
            scaled = "BindsNET scales the weights to it after every run, learning or not; here they stay as they were saved"
            sentences.append(f"{connection.label}: norm {_short(norm)}{owner}: {scaled}")
    if isinstance(connection.get("weight_decay", None), float) and connection.number("weight_decay"):
        sentences.append(f"{connection.label}: weight decay {connection.number('weight_decay'):g}")
    if is_stochastic(connection):
        sentences.append(
            f"{connection.label}: BindsNET draws once for all rows of a batch; here each row has noise of its own"
        )
    if is_pooling(connection) and connection.numbers("firing_rates").any():
        sentences.append(f"{connection.label}: its firing rates when it was saved; a run starts from none")
    return sentences


def _short(norm: object) -> str:
    return f"{norm:g}" if isinstance(norm, (int, float)) else "for each target"


def _bias(connection: ForeignPart) -> Tensor | None:
    """The bias; None if there is none or all of it is 0."""
    if not isinstance(connection.get("b", None), Tensor):
        return None
    bias = connection.weights("b")
    return bias if bias.any() else None


def _bias_of(connection: ForeignPart, target: Nodes) -> Tensor | None:
    """The bias of each target. BindsNET adds a bias of one element to all targets."""
    bias = _bias(connection)
    return bias.expand(target.n).clone() if bias is not None and bias.numel() == 1 else bias


def _dense(connection: ForeignPart, source: Nodes, target: Nodes) -> Connection:
    return connection_of(connection.weights("w"), _bias_of(connection, target), source.shape, target.shape)


def _sparse(connection: ForeignPart, source: Nodes, target: Nodes) -> Connection:
    bias = _bias_of(connection, target)
    w = connection.sparse_weights("w")
    if bias is not None and w.numel() > LARGEST_DENSE:
        raise connection.refuse(
            "it has a bias, which takes a dense matrix here, and its w is too large for one: set its b to 0"
        )
    if bias is not None:
        return sparse_of(connection.weights("w"), bias)
    if list(w.shape) != [source.n, target.n]:  # checked before memory is allocated: a small file can claim any shape
        raise connection.refuse(f"its w is {list(w.shape)}, expected [{source.n}, {target.n}]")
    return sparse_of(w, None)


def _local(connection: ForeignPart, _source: Nodes, target: Nodes) -> Connection:
    """The older local connection. It multiplies with a dense matrix, and sets masked weights to 0 after every step."""
    w, mask = connection.weights("w"), connection.get("mask")
    if not isinstance(mask, Tensor) or mask.shape != w.shape or (w[mask.bool()] != 0).any():
        raise connection.refuse("it has weights under its mask, which BindsNET sets to 0 after the first step")
    return sparse_of(w, _bias_of(connection, target))


def _pipeline(connection: ForeignPart, source: Nodes, target: Nodes) -> Connection:
    w, b, chance = read_pipeline(connection, source.n, target.n)
    return connection_of(w, b, source.shape, target.shape) if chance is None else StochasticDense(w, chance, b)


def _convolution(cls: type[Conv1d | Conv2d | Conv3d]) -> Reader:
    def read(connection: ForeignPart, _source: Nodes, _target: Nodes) -> Connection:
        return cls(connection.weights("w"), _bias(connection), **_geometry(connection))

    return read


def _geometry(connection: ForeignPart) -> dict[str, Any]:
    return {name: connection.sizes(name) for name in ("stride", "padding", "dilation")}


def _pooling(cls: type[MaxPool1d | MaxPool2d | MaxPool3d]) -> Reader:
    def read(connection: ForeignPart, _source: Nodes, _target: Nodes) -> Connection:
        if connection.get("decay") is None:
            raise connection.refuse("it has no decay, without which BindsNET cannot run it either")
        return cls(
            connection.sizes("kernel_size"),
            connection.sizes("stride"),
            connection.sizes("padding"),
            connection.sizes("dilation"),
            connection.number("decay"),
        )

    return read


def _places(cls: type[LocalConnection1d | LocalConnection2d | LocalConnection3d]) -> Reader:
    def read(connection: ForeignPart, _source: Nodes, _target: Nodes) -> Connection:
        return cls(connection.weights("w"), connection.sizes("kernel_size"), connection.sizes("stride"))

    return read


def _mean(connection: ForeignPart, _source: Nodes, target: Nodes) -> Connection:
    w = connection.weights("w")
    return MeanField(w[0] if w.dim() > len(target.shape) else w)  # BindsNET may keep a batch axis of 1


_CONVOLUTIONS: dict[str, type[Conv1d | Conv2d | Conv3d]] = {
    "Conv1dConnection": Conv1d,
    "Conv2dConnection": Conv2d,
    "Conv3dConnection": Conv3d,
}
_LOCAL: dict[str, type[LocalConnection1d | LocalConnection2d | LocalConnection3d]] = {
    "LocalConnection1D": LocalConnection1d,
    "LocalConnection2D": LocalConnection2d,
    "LocalConnection3D": LocalConnection3d,
}

CONNECTIONS: dict[str, Reader] = {
    "Connection": _dense,
    "SparseConnection": _sparse,
    "MulticompartmentConnection": _pipeline,
    **{name: _convolution(cls) for name, cls in _CONVOLUTIONS.items()},
    "MaxPool1dConnection": _pooling(MaxPool1d),
    "MaxPool2dConnection": _pooling(MaxPool2d),
    "MaxPoo3dConnection": _pooling(MaxPool3d),  # as BindsNET spells it
    "MaxPool3dConnection": _pooling(MaxPool3d),
    "LocalConnection": _local,
    **{name: _places(cls) for name, cls in _LOCAL.items()},
    "MeanFieldConnection": _mean,
}


def is_pooling(connection: ForeignPart) -> bool:
    """Return whether a connection passes spikes on unchanged, as pooling does."""
    return connection.kind.name.startswith("MaxPoo")
