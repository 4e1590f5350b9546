"""Mutants of the generated C: the default stimuli detect them, and weak ones do not."""

from collections.abc import Callable

import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.parity import Plan
from deploy_snn.parity.c_mutants import c_mutants, c_self_test

ULP_LOST = "decay + 1 ulp"
"""One ulp of a decay can vanish when a potential of -60 mV is added."""


def test_each_mutant_changes_one_place(exported: Callable[..., Bundle]) -> None:
    source = exported("lif", n=6).file("model.c").read_text()
    planted = list(c_mutants(source))
    assert {mutant.kind for mutant in planted} == {"operator", "condition", "store", "constant"}
    assert len({mutant.source for mutant in planted}) == len(planted)
    lines = source.splitlines()
    for mutant in planted:
        changed = [new for old, new in zip(lines, mutant.source.splitlines(), strict=True) if old != new]
        assert len(changed) == 1, mutant.what
    with pytest.raises(InvalidInput, match="has no function of one row"):
        list(c_mutants("int main(void) { return 0; }\n"))


@pytest.mark.parametrize(("model", "every"), [("lif", 2), ("models/diehl_cook_2015.py", 6)])
def test_default_stimuli_detect_the_mutants(model: str, every: int, exported: Callable[..., Bundle]) -> None:
    options = {"n": 6} if model == "lif" else {"n": 8, "n_input": 64, "snap": 10}
    tested = c_self_test(exported(model, **options), Plan(steps=60), every=every)
    assert len(tested.results) > 8
    surviving = [result.what for result in tested.survivors]
    # inh fires at any spike of exc, whatever the weight, and the reset hides the potential.
    assert not [what for what in surviving if not what.endswith(ULP_LOST) and not what.startswith("exc_to_inh_w")]
    assert not [result for result in tested.results if result.mode == "load"], "a mutant did not compile"


def test_weak_stimuli_miss_mutants(exported: Callable[..., Bundle]) -> None:
    """With one step from rest without input, mutants survive."""
    tested = c_self_test(exported("lif", n=6), Plan(steps=1, stimulus=["constant"]), every=4)
    assert tested.survivors
