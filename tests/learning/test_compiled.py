"""Learning in compiled C: weights with the bits of eager's, although only the rows and columns of spikes are computed."""

import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy_snn import export
from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import find_compiler, find_zig
from deploy_snn.contract import Role
from deploy_snn.learning import MSTDP, MSTDPET, DiehlAndCook, Hebbian, PostPre, Rmax, Rule, WeightDependentPostPre
from deploy_snn.network import Conv2d, Dense, LocalConnection2d, Network
from deploy_snn.neurons import Input, LIFNodes, SRM0Nodes
from deploy_snn.tensors import Arrays

if find_compiler() is None:
    pytest.skip("needs a C compiler", allow_module_level=True)

STEPS = 200
LIMITS = {"wmin": 0.0, "wmax": 3.0}


def dense(rule: Rule) -> Network:
    torch.manual_seed(3)
    network = Network()
    network.add_layer(Input(100, traces=True), "X")
    network.add_layer(LIFNodes(9, traces=True), "Y")
    network.add_connection(Dense(3 * torch.rand(100, 9), rule=rule), "X", "Y")
    return network


def escape(rule: Rule) -> Network:
    torch.manual_seed(3)
    network = Network()
    network.add_layer(Input(100, traces=True, traces_additive=True), "X")
    network.add_layer(SRM0Nodes(9, traces=True, probability=True), "Y")
    network.add_connection(Dense(3 * torch.rand(100, 9), rule=rule), "X", "Y")
    return network


def filters(rule: Rule) -> Network:
    torch.manual_seed(3)
    network = Network()
    network.add_layer(Input(shape=(2, 5, 4), traces=True), "X")
    network.add_layer(LIFNodes(shape=(3, 5, 4), traces=True), "Y")
    network.add_connection(Conv2d(3 * torch.rand(3, 2, 3, 3), padding=1, rule=rule), "X", "Y")
    return network


def local(rule: Rule) -> Network:
    torch.manual_seed(3)
    network = Network()
    network.add_layer(Input(shape=(1, 5, 4), traces=True), "X")
    network.add_layer(LIFNodes(shape=(2, 4, 3), traces=True), "Y")
    network.add_connection(LocalConnection2d(3 * torch.rand(1, 24, 4), 2, 1, rule=rule), "X", "Y")
    return network


RULES: dict[str, tuple[Callable[[Rule], Network], Callable[[], Rule], bool]] = {
    # The network, the rule, and whether only the rows and columns of spikes need to be computed.
    "PostPre": (dense, lambda: PostPre(nu=(0.05, 0.1), norm=30.0, **LIMITS), True),
    "PostPre, a rate of 0": (dense, lambda: PostPre(nu=(0.0, 0.1), **LIMITS), True),
    "PostPre, a mask": (dense, lambda: PostPre(nu=0.1, mask=torch.eye(100)[:, :9], wmin=0.5, wmax=3.0), True),
    "PostPre, decay": (dense, lambda: PostPre(nu=(0.05, 0.1), weight_decay=1e-3, **LIMITS), False),
    "Hebbian, limits by weight": (
        dense,
        lambda: Hebbian(nu=(0.02, 0.03), wmin=torch.zeros(100, 1), wmax=2 + torch.rand(9)),
        True,
    ),
    "WeightDependentPostPre": (dense, lambda: WeightDependentPostPre(nu=(0.1, 0.2), **LIMITS), True),
    "DiehlAndCook": (dense, lambda: DiehlAndCook(nu=0.2, x_tar=0.3, **LIMITS), True),
    "MSTDP": (dense, lambda: MSTDP(nu=0.3, **LIMITS), True),
    "MSTDP, zero lag": (dense, lambda: MSTDP(nu=0.3, zero_lag=True, **LIMITS), True),
    "MSTDP, feature": (dense, lambda: MSTDP(nu=0.3, feature=True, **LIMITS), True),
    "MSTDPET": (dense, lambda: MSTDPET(nu=0.3, **LIMITS), False),
    "Rmax": (escape, lambda: Rmax(nu=0.3, tc_c=4.0, tc_e_trace=20.0, **LIMITS), False),
    "Conv2d": (filters, lambda: PostPre(nu=(0.01, 0.02), **LIMITS), False),
    "LocalConnection2d": (local, lambda: MSTDP(nu=0.2, **LIMITS), False),
}

ROUNDED = {"Conv2d", "Rmax"}
"""Sums over positions in another order, and a spike probability with the rounding of ``expf``."""


@pytest.fixture(scope="module", params=RULES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Bundle]:
    network, rule, _ = RULES[request.param]
    path = tmp_path_factory.mktemp("compiled") / "b"
    return request.param, export(network(rule()), path, formats=["c"], golden_steps=0)


def inputs_for(bundle: Bundle, batch: int) -> Arrays:
    rng = np.random.default_rng(7)
    drawn = {}
    for spec in bundle.contract.inputs:
        values = rng.random((STEPS, *spec.shape(batch=batch)), np.float32)
        if spec.role is Role.DRIVE:
            values = (values < 0.1).astype(np.float32)
        drawn[spec.name] = 2 * values - 1 if spec.role is Role.REWARD else values
    return drawn


def weights_after(bundle: Bundle, runtime: str, batch: int, change: Callable[[Arrays], Arrays] | None = None) -> Arrays:
    session = bundle.session(runtime, batch=batch)
    if change is not None:
        session.state = change(session.state)
    session.run(inputs_for(bundle, batch))
    return session.state


def learnt(state: Arrays) -> Arrays:
    return {name: value for name, value in state.items() if "_to_" in name or name.endswith("trace")}


def test_equal_to_eager(case: tuple[str, Bundle]) -> None:
    """To the bit at batch 1. Weights beyond their limits are limited by the first step; here, all targets spike in it."""
    name, bundle = case

    def beyond(state: Arrays) -> Arrays:
        return state | {"X_to_Y.w": 4 * state["X_to_Y.w"] - 2, "Y.v": np.full_like(state["Y.v"], -40.0)}

    for change in (None, beyond):
        expected, actual = (learnt(weights_after(bundle, runtime, 1, change)) for runtime in ("eager", "c"))
        assert (expected["X_to_Y.w"] != bundle.initial_state(1)["X_to_Y.w"]).any()
        for tensor, value in expected.items():
            if name in ROUNDED:
                np.testing.assert_allclose(actual[tensor], value, rtol=1e-5, atol=1e-6, err_msg=tensor)
            else:
                np.testing.assert_array_equal(actual[tensor], value, tensor)


@pytest.mark.skipif(find_zig() is None or find_spec("wasmtime") is None, reason="needs the extra wasm")
@pytest.mark.parametrize("name", ["PostPre", "MSTDPET"])
def test_webassembly_learns_too(name: str, tmp_path: Path) -> None:
    network, rule, _ = RULES[name]
    bundle = export(network(rule()), tmp_path / "b", formats=["wasm"], golden_steps=0)
    expected, actual = (learnt(weights_after(bundle, runtime, 1)) for runtime in ("eager", "wasm"))
    for tensor, value in expected.items():
        np.testing.assert_array_equal(actual[tensor], value, tensor)
    if name == "PostPre":
        session = bundle.session("wasm")
        session.normalise()
        np.testing.assert_allclose(np.abs(session.state["X_to_Y.w"]).sum(0), 30, rtol=1e-6)


def test_a_batch_learns_from_the_sum_of_its_rows(case: tuple[str, Bundle]) -> None:
    _, bundle = case
    expected, actual = (learnt(weights_after(bundle, runtime, 3)) for runtime in ("eager", "c"))
    for tensor, value in expected.items():
        np.testing.assert_allclose(actual[tensor], value, rtol=1e-4, atol=1e-5, err_msg=tensor)


def test_only_what_spikes_reach_is_computed(case: tuple[str, Bundle]) -> None:
    name, bundle = case
    assert ("in the rows and columns of neurons that spiked" in (bundle.path / "model.c").read_text()) == RULES[name][2]


def test_after_a_normalisation_all_weights_are_limited(tmp_path: Path) -> None:
    """A norm may scale weights beyond wmax; eager's next step limits all of them, also without a spike."""
    bundle = export(dense(PostPre(nu=0.1, norm=250.0, **LIMITS)), tmp_path / "b", formats=["c"], golden_steps=0)
    after = {}
    for runtime in ("eager", "c"):
        session = bundle.session(runtime)
        inputs = inputs_for(bundle, 1)
        session.run(inputs)
        session.normalise()
        assert session.state["X_to_Y.w"].max() > 3
        session.step({spec: np.zeros_like(values[0]) for spec, values in inputs.items()})
        after[runtime] = session.state["X_to_Y.w"]
    assert after["c"].max() == 3
    np.testing.assert_allclose(after["c"], after["eager"], rtol=1e-6)  # the sums of the columns have another order


def test_compilers_accept_it(case: tuple[str, Bundle], tmp_path: Path) -> None:
    compiler = find_compiler()
    assert compiler is not None
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-pedantic", "-O1", "-c", "model.c", "-o"]
    built = subprocess.run(
        [*compiler.command, *flags, str(tmp_path / "model.o")],
        cwd=case[1].path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
