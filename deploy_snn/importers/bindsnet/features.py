"""The pipeline of a MulticompartmentConnection, folded into one matrix and one bias, as BindsNET folds it at each step."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deploy_snn.importers.bindsnet.foreign_part import ForeignPart


@dataclass(frozen=True)
class Folded:
    """The features read so far, as ``z @ factor + offset.sum(0)``.

    ``chance`` is the probability that a synapse transmits in a step; None if it always does.
    """

    factor: Tensor | None = None
    offset: Tensor | None = None
    chance: Tensor | None = None

    def times(self, value: Tensor) -> "Folded":
        return replace(
            self,
            factor=value if self.factor is None else self.factor * value,
            offset=None if self.offset is None else self.offset * value,
        )

    def plus(self, value: Tensor) -> "Folded":
        return replace(self, offset=value if self.offset is None else self.offset + value)


def features_of(connection: ForeignPart) -> list[ForeignPart]:
    """The features of a connection's pipeline, in order; [] if it has no pipeline."""
    pipeline = connection.get("pipeline", [])
    if not isinstance(pipeline, list):
        raise connection.refuse("its pipeline is not a list")
    return [ForeignPart(f"{connection.label}, feature {number}", thing) for number, thing in enumerate(pipeline, 1)]


def read_pipeline(connection: ForeignPart, n_source: int, n_target: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Weights ``[N, M]``, and a bias ``[M]`` and probabilities, or None.

    Raises InvalidInput for features whose value changes during a run.
    """
    folded = Folded()
    for feature in features_of(connection):
        fold = FEATURES.get(feature.kind.name)
        if fold is None or not feature.kind.module.startswith("bindsnet."):
            reason = MOVING.get(feature.kind.name, "this feature cannot be imported")
            raise feature.refuse(f"{reason}; choose from {', '.join(FEATURES)}")
        folded = fold(folded, feature, (n_source, n_target))
    w = torch.ones(n_source, n_target) if folded.factor is None else folded.factor
    w = w if w.is_floating_point() else w.float()
    if w.dtype != torch.float32:
        raise connection.refuse(f"its weights are {w.dtype}, and sums of them round otherwise than those of float32")
    if list(w.shape) != [n_source, n_target]:
        raise connection.refuse(f"its features make {list(w.shape)}, and BindsNET needs [{n_source}, {n_target}] as well")
    b = None if folded.offset is None else folded.offset.sum(dim=0).to(torch.float32).expand(n_target).clone()
    return w.clone(), b, folded.chance


def _value(feature: ForeignPart, ends: tuple[int, int]) -> Tensor:
    """A feature's value in its own type, so that products round as they do in BindsNET."""
    value = feature.get("value")
    if not isinstance(value, Tensor):
        raise feature.refuse("it has no value")
    if value.layout == torch.strided and not feature.flag("sparse"):
        return value.detach().cpu()
    if value.numel() != ends[0] * ends[1]:
        raise feature.refuse(f"its sparse value is {list(value.shape)}, which BindsNET can run for a batch of 1 alone")
    return feature.dense("value").detach().cpu().reshape(ends)


def _weight(folded: Folded, feature: ForeignPart, ends: tuple[int, int]) -> Folded:
    if feature.get("norm_frequency", "sample") == "time step" and feature.get("norm", None) is not None:
        raise feature.refuse("it is normalised in every step, so that it never stays the same")
    if feature.flag("enforce_polarity"):
        raise feature.refuse("enforce_polarity changes its value as the network runs")
    return folded.times(_value(feature, ends))


def _factor(folded: Folded, feature: ForeignPart, ends: tuple[int, int]) -> Folded:
    return folded.times(_value(feature, ends))


def _bias(folded: Folded, feature: ForeignPart, ends: tuple[int, int]) -> Folded:
    return folded.plus(_value(feature, ends))


def _degradation(folded: Folded, feature: ForeignPart, ends: tuple[int, int]) -> Folded:
    if feature.get("degrade_function", None) is not None:
        raise feature.refuse("its degrade_function is code, which is not carried over")
    return folded.plus(-_value(feature, ends))


def _probability(folded: Folded, feature: ForeignPart, ends: tuple[int, int]) -> Folded:
    value = _value(feature, ends)
    if ((value == 0) | (value == 1)).all():
        return folded.times(value)
    if folded.offset is not None:
        raise feature.refuse("it also draws for a bias in front of it, which deploy_snn always adds")
    if folded.chance is not None:
        raise feature.refuse("it is the second one that draws")
    return replace(folded, chance=value.to(torch.float32))


def is_stochastic(connection: ForeignPart) -> bool:
    """Whether a connection has a feature that draws random numbers in every step."""
    values = [feature.get("value", None) for feature in features_of(connection) if feature.kind.name == "Probability"]
    return any(isinstance(value, Tensor) and bool(((value != 0) & (value != 1)).any()) for value in values)


FEATURES: dict[str, Callable[[Folded, ForeignPart, tuple[int, int]], Folded]] = {
    "Weight": _weight,
    "Mask": _factor,
    "Intensity": _factor,
    "Bias": _bias,
    "Degradation": _degradation,
    "Probability": _probability,
}

MOVING = {
    "Normalization": "it normalises another feature in every step",
    "Updating": "it makes another feature learn in every step, also when the network does not",
    "MeanField": "its value is the mean of the spikes",
    "AdaptationBaseSynapsHistory": "its value follows the spikes",
    "AdaptationBaseOtherSynaps": "its value follows the spikes",
}
