"""BindsNET's connections as ours, a reader for each class."""

from collections.abc import Callable

from torch import Tensor

from deploy_snn.importers.bindsnet.features import draws, features_of, read_pipeline
from deploy_snn.importers.bindsnet.matrix import connection_of, sparse_of
from deploy_snn.importers.bindsnet.part import Part
from deploy_snn.importers.bindsnet.saved import name_of
from deploy_snn.network import (
    Connection,
    Conv1d,
    Conv2d,
    Conv3d,
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

Reader = Callable[[Part, Nodes, Nodes], Connection]

LARGEST_DENSE = 2**28
"""How many weights a sparse connection with a bias may have, counting those of 0."""

WINDOWED = ("Connection", "SparseConnection")
"""Those that BindsNET can connect to neurons which see a window of past drives."""


def read_connection(made: Part, source: Nodes, target: Nodes) -> Connection:
    """A connection between two layers. Raises InvalidInput for what is unknown, and for what would change the spikes."""
    read = CONNECTIONS.get(made.kind.name)
    if read is None or not made.kind.module.startswith("bindsnet."):
        raise made.refuse(f"no class of BindsNET's that can be carried over; there is {', '.join(CONNECTIONS)}")
    if made.get("Dales_rule", None) is not None:
        raise made.refuse("its Dales_rule makes BindsNET 0.3.4 set all weights to 0 after the first step: remove the rule")
    if isinstance(target, CSRMNodes):
        if made.kind.name not in WINDOWED:
            raise made.refuse(f"BindsNET can connect nothing but {' and '.join(WINDOWED)} to CSRMNodes")
        if _bias(made) is not None:
            raise made.refuse("its bias also acts on the steps before the first one, where it leads to CSRMNodes")
    return read(made, source, target)


def left_in(made: Part) -> list[str]:
    """What a connection does in BindsNET between or because of its spikes, and ours does not, in words."""
    rules = [(made.get("update_rule", None), made.get("norm", None), "")]
    rules += [
        (feature.get("learning_rule", None), feature.get("norm", None), f" of feature {feature.get('name')!r}")
        for feature in features_of(made)
    ]
    told = []
    for rule, norm, owner in rules:
        if rule is not None and name_of(rule).name != "NoOp":
            told.append(f"{made.label}: learning rule {name_of(rule).name}{owner}; the weights stay as they were saved")
        if norm is not None:
            scaled = "BindsNET scales the weights to it after every run, learning or not; here they stay as they were saved"
            told.append(f"{made.label}: norm {_short(norm)}{owner}: {scaled}")
    if isinstance(made.get("weight_decay", None), float) and made.number("weight_decay"):
        told.append(f"{made.label}: weight decay {made.number('weight_decay'):g}")
    if draws(made):
        told.append(f"{made.label}: BindsNET draws once for all rows of a batch; here each row has noise of its own")
    if pools(made) and made.numbers("firing_rates").any():
        told.append(f"{made.label}: its firing rates when it was saved; a run starts from none")
    return told


def _short(norm: object) -> str:
    return f"{norm:g}" if isinstance(norm, (int, float)) else "for each target"


def _bias(made: Part) -> Tensor | None:
    """The bias, where there is one that is not 0."""
    if not isinstance(made.get("b", None), Tensor):
        return None
    bias = made.weights("b")
    return bias if bias.any() else None


def _bias_of(made: Part, target: Nodes) -> Tensor | None:
    """The bias for each target; BindsNET adds a single one to all."""
    bias = _bias(made)
    return bias.expand(target.n).clone() if bias is not None and bias.numel() == 1 else bias


def _dense(made: Part, source: Nodes, target: Nodes) -> Connection:
    return connection_of(made.weights("w"), _bias_of(made, target), source.shape, target.shape)


def _sparse(made: Part, source: Nodes, target: Nodes) -> Connection:
    bias = _bias_of(made, target)
    w = made.sparse_weights("w")
    if bias is not None and w.numel() > LARGEST_DENSE:
        raise made.refuse("it has a bias, which takes a dense matrix here, and its w is too large for one: set its b to 0")
    if bias is not None:
        return sparse_of(made.weights("w"), bias)
    if list(w.shape) != [source.n, target.n]:  # before its lists are built: a shape costs a file nothing
        raise made.refuse(f"its w is {list(w.shape)}, expected [{source.n}, {target.n}]")
    return sparse_of(w, None)


def _local(made: Part, _source: Nodes, target: Nodes) -> Connection:
    """The older class, which multiplies with a whole matrix, and sets what it masks to 0 after every step."""
    w, mask = made.weights("w"), made.get("mask")
    if not isinstance(mask, Tensor) or mask.shape != w.shape or (w[mask.bool()] != 0).any():
        raise made.refuse("it has weights under its mask, which BindsNET sets to 0 after the first step")
    return sparse_of(w, _bias_of(made, target))


def _pipeline(made: Part, source: Nodes, target: Nodes) -> Connection:
    w, b, chance = read_pipeline(made, source.n, target.n)
    return connection_of(w, b, source.shape, target.shape) if chance is None else StochasticDense(w, chance, b)


def _convolution(cls: type[Conv1d | Conv2d | Conv3d]) -> Reader:
    def read(made: Part, _source: Nodes, _target: Nodes) -> Connection:
        return cls(
            made.weights("w"),
            _bias(made),
            stride=made.sizes("stride"),
            padding=made.sizes("padding"),
            dilation=made.sizes("dilation"),
        )

    return read


def _pooling(cls: type[MaxPool1d | MaxPool2d | MaxPool3d]) -> Reader:
    def read(made: Part, _source: Nodes, _target: Nodes) -> Connection:
        if made.get("decay") is None:
            raise made.refuse("it has no decay, without which BindsNET cannot run it either")
        return cls(
            made.sizes("kernel_size"),
            made.sizes("stride"),
            made.sizes("padding"),
            made.sizes("dilation"),
            made.number("decay"),
        )

    return read


def _places(cls: type[LocalConnection1d | LocalConnection2d | LocalConnection3d]) -> Reader:
    def read(made: Part, _source: Nodes, _target: Nodes) -> Connection:
        return cls(made.weights("w"), made.sizes("kernel_size"), made.sizes("stride"))

    return read


def _mean(made: Part, _source: Nodes, target: Nodes) -> Connection:
    w = made.weights("w")
    return MeanField(w[0] if w.dim() > len(target.shape) else w)  # BindsNET may keep a batch axis of 1


CONNECTIONS: dict[str, Reader] = {
    "Connection": _dense,
    "SparseConnection": _sparse,
    "MulticompartmentConnection": _pipeline,
    "Conv1dConnection": _convolution(Conv1d),
    "Conv2dConnection": _convolution(Conv2d),
    "Conv3dConnection": _convolution(Conv3d),
    "MaxPool1dConnection": _pooling(MaxPool1d),
    "MaxPool2dConnection": _pooling(MaxPool2d),
    "MaxPoo3dConnection": _pooling(MaxPool3d),  # as BindsNET spells it
    "MaxPool3dConnection": _pooling(MaxPool3d),
    "LocalConnection": _local,
    "LocalConnection1D": _places(LocalConnection1d),
    "LocalConnection2D": _places(LocalConnection2d),
    "LocalConnection3D": _places(LocalConnection3d),
    "MeanFieldConnection": _mean,
}


def pools(made: Part) -> bool:
    """Whether a connection hands spikes on as they are, as a pooling does."""
    return made.kind.name.startswith("MaxPoo")
