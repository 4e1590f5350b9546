"""STDP that is modulated by a reward."""

from typing import ClassVar, Unpack

from torch import Tensor

from deploy_snn.contract import BATCH, NEURONS, Kind, Role, TensorSpec
from deploy_snn.learning.rule import Number, Rates, Rule, RuleOptions


class Reinforced(Rule):
    """The base class of the rules that pair spikes in traces of their own, ``p_plus`` and ``p_minus``.

    ``p_plus = p_plus * exp(-dt / tc_plus) + a_plus * s``, and ``p_minus`` likewise from the target's spikes r. The
    eligibility of a weight is ``p_plus * r + s * p_minus``. By default a reward meets the eligibility of the step before.

    Args:
        tc_plus, tc_minus: time constants of the traces, in ms.
        a_plus, a_minus: what a spike of the source, or of the target, adds to its trace.
        zero_lag: the reward meets the eligibility of its own step.

    Further keywords: those of :class:`Rule`. nu[1] is unused.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"reward"})

    __constants__: ClassVar[list[str]] = [*Rule.__constants__, "zero_lag"]

    tc_plus: Tensor
    tc_minus: Tensor
    a_plus: Tensor
    a_minus: Tensor
    plus_decay: Tensor
    minus_decay: Tensor

    def __init__(
        self,
        nu: Rates = (0.0, 0.0),
        *,
        tc_plus: Number = 20.0,
        tc_minus: Number = 20.0,
        a_plus: Number = 1.0,
        a_minus: Number = -1.0,
        zero_lag: bool = False,
        **options: Unpack[RuleOptions],
    ) -> None:
        super().__init__(nu, **options)
        self.add_number("tc_plus", tc_plus, positive=True)
        self.add_number("tc_minus", tc_minus, positive=True)
        self.add_number("a_plus", a_plus)
        self.add_number("a_minus", a_minus)
        self.zero_lag = bool(zero_lag)

    def set_step(self, dt: float) -> None:
        self.add_decay("tc_plus", "plus_decay", dt)
        self.add_decay("tc_minus", "minus_decay", dt)

    def states(self) -> tuple[TensorSpec, ...]:
        kept = [("p_plus", Kind.TRACE, self.source_shape), ("p_minus", Kind.TRACE, self.target_shape)]
        if not self.zero_lag:
            # With these the eligibility of the step before is a product again; it would take N times as much to keep it.
            kept += [
                ("source_before", Kind.PREVIOUS, self.source_shape),
                ("target_before", Kind.PREVIOUS, self.target_shape),
            ]
        return tuple(
            TensorSpec(name=name, role=Role.STATE, kind=kind, axes=(BATCH, NEURONS), initial="0").over(shape)
            for name, kind, shape in kept
        )

    def pair(self, activity: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The two terms of the eligibility that the reward meets, row by row ``[B, *w]``, and the next state."""
        s, r = activity["source"], activity["target"]
        after = {
            "p_plus": state["p_plus"] * self.plus_decay + self.a_plus * s,
            "p_minus": state["p_minus"] * self.minus_decay + self.a_minus * r,
        }
        if self.zero_lag:
            return self.synapses.products(after["p_plus"], r), self.synapses.products(s, after["p_minus"]), after
        after["source_before"], after["target_before"] = s.clone(), r.clone()
        raising = self.synapses.products(state["p_plus"], state["target_before"])
        lowering = self.synapses.products(state["source_before"], state["p_minus"])
        return raising, lowering, after

    def by_row(self, reward: Tensor) -> Tensor:
        """A reward ``[B]`` that broadcasts over the weights of each row."""
        return reward.reshape([-1] + [1] * len(self.weights_shape))


class MSTDP(Reinforced):
    """STDP modulated by a reward (Florian 2007, doi:10.1162/neco.2007.19.6.1468).

    ``w + nu[0] * sum over the batch of (reward * eligibility)``. The network has an input ``reward`` ``[B]``.

    Args:
        feature: round as BindsNET does for a feature of its MulticompartmentConnection: each term of the eligibility is
            added to the weights by itself.

    Further keywords: those of :class:`Reinforced`.
    """

    __constants__: ClassVar[list[str]] = [*Reinforced.__constants__, "feature"]

    def __init__(
        self,
        nu: Rates = (0.0, 0.0),
        *,
        tc_plus: Number = 20.0,
        tc_minus: Number = 20.0,
        a_plus: Number = 1.0,
        a_minus: Number = -1.0,
        zero_lag: bool = False,
        feature: bool = False,
        **options: Unpack[RuleOptions],
    ) -> None:
        super().__init__(
            nu, tc_plus=tc_plus, tc_minus=tc_minus, a_plus=a_plus, a_minus=a_minus, zero_lag=zero_lag, **options
        )
        self.feature = bool(feature)

    def update(self, w: Tensor, activity: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
        raising, lowering, after = self.pair(activity, state)
        reward = self.by_row(activity["reward"])
        if self.feature:
            w.add_((self.nu[0] * reward * raising).sum(0))
            w.add_((self.nu[0] * reward * lowering).sum(0))
        else:
            w.add_(self.nu[0] * (reward * (raising + lowering)).sum(0))
        return after
