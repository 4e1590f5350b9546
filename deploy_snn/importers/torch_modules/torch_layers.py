"""torch's own layers: Linear, convolutions, pooling, batch normalisation, Flatten, Dropout."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.torch_modules.part import Dropped, Link, Normalisation, Part, children_of, own_class
from deploy_snn.network import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    Conv3d,
    Dense,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    Reshape,
)

CONVOLUTIONS: dict[type[nn.Module], type[Conv1d | Conv2d | Conv3d]] = {
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
}
MAX_POOLS: dict[type[nn.Module], type[MaxPool1d | MaxPool2d | MaxPool3d]] = {
    nn.MaxPool1d: MaxPool1d,
    nn.MaxPool2d: MaxPool2d,
    nn.MaxPool3d: MaxPool3d,
}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
NORMALISED_AXES: dict[type[nn.Module], tuple[int, ...]] = {
    nn.BatchNorm1d: (1, 2),
    nn.BatchNorm2d: (3,),
    nn.BatchNorm3d: (4,),
}


def part_of(module: nn.Module) -> Part:
    """The part for a torch module. Raises InvalidInput, without naming the module, if it has no counterpart."""
    cls = own_class(module)
    if isinstance(module, nn.Sequential) and cls.forward is nn.Sequential.forward:
        return children_of(module)
    return layer_part(module, cls)


def layer_part(module: Any, cls: type[nn.Module]) -> Part:
    """The part for a layer that computes the same as ``cls``, a class of torch.nn. Raises InvalidInput as above."""
    if cls in _PARTS:
        return _PARTS[cls](module)
    raise InvalidInput("it has no counterpart; of torch, Sequential, " + ", ".join(c.__name__ for c in _PARTS) + " have")


def _linear(module: Any) -> Link:
    return Link(Dense.from_linear(module), 1, partial(nn.Linear.forward, module))


def _convolution(cls: type[nn.Module], module: Any) -> Link:
    connection = CONVOLUTIONS[cls]
    return Link(connection.from_conv(module), connection.axes + 1, partial(cls.forward, module))


def _max_pool(cls: type[nn.Module], module: Any) -> Link:
    if module.ceil_mode:
        raise InvalidInput("ceil_mode=True has no counterpart")
    if module.return_indices:
        raise InvalidInput("return_indices=True has no counterpart")
    # With decay 1 the rates are the values of this step, so the largest value of the field is passed on.
    pool = MAX_POOLS[cls](
        _sizes(module.kernel_size), _sizes(module.stride), _sizes(module.padding), _sizes(module.dilation), 1.0
    )
    return Link(pool, pool.axes + 1, partial(cls.forward, module))


def _average_pool(module: Any) -> Link:
    if module.ceil_mode:
        raise InvalidInput("ceil_mode=True has no counterpart")
    if module.divisor_override is not None:
        raise InvalidInput("divisor_override has no counterpart")
    if not module.count_include_pad and any(torch.as_tensor(module.padding).flatten().tolist()):
        raise InvalidInput("count_include_pad=False has no counterpart: padding counts as 0")
    pool = AvgPool2d(_sizes(module.kernel_size), _sizes(module.stride), _sizes(module.padding))
    return Link(pool, 3, partial(nn.AvgPool2d.forward, module))


def _sizes(value: Any) -> int | list[int]:
    return value if isinstance(value, int) else [int(size) for size in value]


def _normalisation(cls: type[nn.Module], module: Any) -> Normalisation:
    if module.running_mean is None:
        raise InvalidInput("without running statistics (track_running_stats=False) it cannot be folded into a layer")
    _refuse_training(module)
    mean, variance = module.running_mean.detach().cpu().double(), module.running_var.detach().cpu().double()
    scale = 1 / torch.sqrt(variance + module.eps)
    if module.weight is not None:
        scale = scale * module.weight.detach().cpu().double()
    shift = -mean * scale
    if module.bias is not None:
        shift = shift + module.bias.detach().cpu().double()
    return Normalisation(scale, shift, NORMALISED_AXES[cls])


def _dropout(module: Any) -> Dropped:
    _refuse_training(module)
    return Dropped("it drops nothing in eval mode")


def _flatten(module: Any) -> Link:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise InvalidInput("only Flatten(1, -1), of all axes but the batch, has a counterpart")
    return Link(Reshape(), None, partial(nn.Flatten.forward, module))


def _refuse_training(module: nn.Module) -> None:
    if module.training:
        raise InvalidInput("it is in training mode: call eval() on the model first")


_PARTS: dict[type[nn.Module], Callable[[Any], Part]] = {
    nn.Linear: _linear,
    **{cls: partial(_convolution, cls) for cls in CONVOLUTIONS},
    **{cls: partial(_max_pool, cls) for cls in MAX_POOLS},
    nn.AvgPool2d: _average_pool,
    **{cls: partial(_normalisation, cls) for cls in NORMALISED_AXES},
    nn.Flatten: _flatten,
    **dict.fromkeys(DROPOUTS, _dropout),
    nn.Identity: lambda _: Dropped(),
}
