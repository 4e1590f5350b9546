"""Faults in learning that must show as a difference from BindsNET."""

from types import ModuleType

import pytest
import torch
from torch import Tensor

from deploy_snn.learning import PostPre, Rule
from deploy_snn.network import Dense, PlasticConnection

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture; tests are no package that is installed)
from .test_against_bindsnet import (
    BOUNDS,
    SOURCES,
    TARGETS,
    Case,
    assert_equal_steps,
    ours,
    rule_of,
    starting_weights,
    theirs,
)

POST_PRE = Case("PostPre", options=BOUNDS | {"weight_decay": 1e-3})
FALLING = Case("PostPre", nu=(0.05, 0.02), options={"wmin": 1.0, "wmax": 3.0})
"""The weights fall to their lower limit, where the two terms of a coincidence cross it and come back."""
MSTDP = Case("MSTDP", options=BOUNDS)


def check(case: Case, peer: ModuleType, mutant: Case | None = None) -> None:  # noqa: F811
    torch.manual_seed(1)
    w = starting_weights((SOURCES, TARGETS), dyadic=False)
    network = ours(case, Dense(w, rule=rule_of(mutant or case)), (SOURCES,), (TARGETS,))
    assert_equal_steps(network, *theirs(peer, case, w, 1), 1)


def assert_killed(case: Case, peer: ModuleType, mutant: Case | None = None) -> None:  # noqa: F811
    with pytest.raises(AssertionError, match="weights at step"):
        check(case, peer, mutant)


def test_rates_swapped(peer: ModuleType) -> None:  # noqa: F811
    assert_killed(POST_PRE, peer, Case("PostPre", nu=POST_PRE.nu[::-1], options=POST_PRE.options))


def test_lag_dropped(peer: ModuleType) -> None:  # noqa: F811
    assert_killed(MSTDP, peer, Case("MSTDP", options=BOUNDS | {"zero_lag": True}))


@pytest.mark.parametrize("layer", ["X", "Y"])
def test_trace_from_before_the_spike(layer: str, peer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    learn = PlasticConnection.learn

    def mutant(self: PlasticConnection, spikes: dict, inputs: dict, state: dict, after: dict, owned: bool) -> None:  # noqa: PLR0917
        early = after | {f"{layer}.trace": state[f"{layer}.trace"]}
        learn(self, spikes, inputs, state, early, owned)
        after |= {name: value for name, value in early.items() if name.startswith(self.name)}

    monkeypatch.setattr(PlasticConnection, "learn", mutant)
    assert_killed(POST_PRE, peer)


def test_limits_before_decay(peer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def mutant(self: Rule, w: Tensor, activity: dict, state: dict) -> dict:
        after = self.update(w, activity, state)
        w.clamp_(self.smallest, self.largest).mul_(self.kept)
        return after

    monkeypatch.setattr(Rule, "forward", mutant)
    assert_killed(POST_PRE, peer)


def test_limits_between_the_two_terms(peer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    def mutant(self: PostPre, w: Tensor, activity: dict, _state: dict) -> dict:
        self.synapses.add(w, activity["source"], activity["target_trace"], self.nu[0], -1.0)
        w.clamp_(self.smallest, self.largest)
        self.synapses.add(w, activity["source_trace"], activity["target"], self.nu[1], 1.0)
        return {}

    monkeypatch.setattr(PostPre, "update", mutant)
    assert_killed(FALLING, peer)


def test_without_a_fault_it_is_equal(peer: ModuleType) -> None:  # noqa: F811
    check(POST_PRE, peer)
    check(FALLING, peer)
    check(MSTDP, peer)
