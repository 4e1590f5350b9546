"""Networks that learn, in every runtime: equal weights, states that stay untouched, and learning that goes on elsewhere."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy_snn import export, verify
from deploy_snn.bundle import Bundle
from deploy_snn.contract import Role
from deploy_snn.eager import to_numpy
from deploy_snn.formats.onnx import Onnx
from deploy_snn.learning import MSTDP, MSTDPET, PostPre, Rule, WeightDependentPostPre
from deploy_snn.lowering import Lowered
from deploy_snn.network import Conv2d, Dense, Lateral, LocalConnection2d, Network, structure_of
from deploy_snn.network.rebuild import rebuild_program
from deploy_snn.neurons import DiehlAndCookNodes, Input, LIFNodes
from deploy_snn.tensors import Arrays, read_tensors, write_tensors

RUNTIMES = ("eager", "torchscript", "pt2", "onnxruntime-cpu", "c")
STEPS = 60


def dense(rule: Rule | None, *, one_step: bool = False) -> Network:
    """A plastic connection, a second one that reads the first one's target, and inhibition."""
    torch.manual_seed(4)
    network = Network(one_step=one_step, record=["X_to_Y.w"] if rule is not None and rule.learning else [])
    network.add_layer(Input(n=10, traces=True), "X")
    network.add_layer(DiehlAndCookNodes(n=6, traces=True), "Y")
    network.add_layer(LIFNodes(n=4, traces=True), "Z")
    network.add_connection(Dense(3 * torch.rand(10, 6), rule=rule), "X", "Y")
    limits = {"wmin": torch.zeros(6, 1), "wmax": torch.full((4,), 9.0), "mask": torch.eye(6)[:, :4]}
    second = WeightDependentPostPre(nu=0.02, **limits) if rule is not None and rule.learning else None
    network.add_connection(Dense(9 * torch.rand(6, 4), rule=second), "Y", "Z")
    network.add_connection(Lateral(-1.0), "Z", "Z")
    return network.finish()


def positioned() -> Network:
    torch.manual_seed(4)
    network = Network()
    network.add_layer(Input(shape=(1, 5, 4), traces=True), "X")
    network.add_layer(LIFNodes(shape=(2, 4, 3), traces=True), "C")
    network.add_layer(LIFNodes(shape=(2, 4, 3), traces=True), "L")
    rule = PostPre(nu=(0.01, 0.02), wmin=0.0, wmax=5.0, weight_decay=1e-3)
    network.add_connection(Conv2d(4 * torch.rand(2, 1, 2, 2), rule=rule), "X", "C")
    local = LocalConnection2d(4 * torch.rand(1, 24, 4), 2, 1, rule=MSTDP(nu=0.02, wmax=5.0))
    network.add_connection(local, "X", "L")
    return network.finish()


RULES: dict[str, Callable[[], Network]] = {
    "post-pre": lambda: dense(PostPre(nu=(0.02, 0.05), wmin=0.0, wmax=3.0, norm=12.0)),
    "mstdpet": lambda: dense(MSTDPET(nu=0.3, wmax=3.0), one_step=True),
    "positioned": positioned,
}


@pytest.fixture(scope="module", params=RULES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export(RULES[request.param](), tmp_path_factory.mktemp("plastic") / request.param, golden_steps=0)


def inputs_for(bundle: Bundle, steps: int = STEPS, batch: int = 1) -> Arrays:
    rng = np.random.default_rng(5)
    drawn = {}
    for spec in bundle.contract.inputs:
        values = rng.random((steps, *spec.shape(batch=batch)), np.float32)
        drawn[spec.name] = {Role.DRIVE: (values < 0.3).astype(np.float32), Role.REWARD: 2 * values - 1}.get(
            spec.role, values
        )
    return drawn


def test_locked_free_and_in_sequence(bundle: Bundle) -> None:
    """The weights and the rule's own states are equal to the bit at batch 1; potentials may differ by their sums."""
    report = verify(bundle, steps=STEPS, batch=1)
    assert report.equal
    assert {run.runtime for run in report.runs} >= set(RUNTIMES) - {"eager"}
    for run in report.runs:
        for tensor in run.tensors:
            if "_to_" in tensor.tensor or tensor.tensor.endswith((".trace", ".s")):
                assert not tensor.max_ulp, f"{run.runtime}, {run.mode}: {tensor.tensor}"


def test_learning_goes_on_in_another_runtime(bundle: Bundle) -> None:
    inputs = inputs_for(bundle)
    whole = bundle.session("eager")
    whole.run(inputs)
    state = bundle.initial_state(1)
    length = STEPS // len(RUNTIMES)
    for part, runtime in enumerate(RUNTIMES):
        session = bundle.session(runtime)
        session.state = state
        session.run({name: values[part * length : (part + 1) * length] for name, values in inputs.items()})
        state = session.state
    for name, value in whole.state.items():
        if name.endswith(".w"):
            np.testing.assert_array_equal(state[name], value, name)
            assert (value != bundle.initial_state(1)[name]).any(), name


def test_the_state_that_is_given_stays_as_it_is(bundle: Bundle) -> None:
    inputs = inputs_for(bundle, steps=5)
    for runtime in RUNTIMES:
        session = bundle.session(runtime)
        start = bundle.initial_state(1)
        kept = {name: value.copy() for name, value in start.items()}
        session.state = start
        session.run(inputs)
        after = {name: value.copy() for name, value in session.state.items()}
        handed_out = session.state
        session.step({name: values[0] for name, values in inputs.items()})
        for name, value in kept.items():
            np.testing.assert_array_equal(start[name], value, f"{runtime}: {name}")
            np.testing.assert_array_equal(handed_out[name], after[name], f"{runtime}: {name}")


def test_a_batch_learns_from_the_sum_of_its_rows(bundle: Bundle) -> None:
    """All runtimes agree within the rounding of that sum."""
    weights = {}
    for runtime in RUNTIMES:
        session = bundle.session(runtime, batch=3)
        session.run(inputs_for(bundle, batch=3))
        weights[runtime] = {name: value for name, value in session.state.items() if name.endswith(".w")}
    for runtime in RUNTIMES:
        for name, value in weights["eager"].items():
            np.testing.assert_allclose(weights[runtime][name], value, rtol=1e-5, atol=1e-5, err_msg=f"{runtime}: {name}")


def test_without_learning_the_graph_is_that_of_constants() -> None:
    plain, off = dense(None), dense(PostPre(nu=0.1, learning=False))
    assert plain.contract == off.contract
    graphs = [Onnx().step_graph(Lowered(network)).SerializeToString(deterministic=True) for network in (plain, off)]
    assert graphs[0] == graphs[1]


def test_normalise(tmp_path: Path) -> None:
    network = RULES["post-pre"]()
    network.connections[0].w[:, 2] = 0  # a column of zeros stays
    bundle = export(network, tmp_path / "b", golden_steps=0, formats=["onnx", "torchscript", "pt2", "c"])
    for runtime in RUNTIMES:
        session = bundle.session(runtime)
        before = session.state
        session.normalise()
        totals = np.abs(session.state["X_to_Y.w"]).sum(0)
        np.testing.assert_allclose(totals, [12, 12, 0, 12, 12, 12], rtol=1e-6, err_msg=runtime)
        for name in before:
            if name != "X_to_Y.w":
                np.testing.assert_array_equal(session.state[name], before[name], f"{runtime}: {name}")


@pytest.mark.parametrize("name", RULES)
def test_rebuilt_from_data(name: str) -> None:
    network = RULES[name]()
    again = rebuild_program(structure_of(network), to_numpy(network.state_dict()))
    assert again.contract == network.contract
    assert again.state_dict().keys() == network.state_dict().keys()
    for connection, copy in zip(network.connections, again.connections, strict=True):
        if connection.plastic:
            assert type(copy.rule) is type(connection.rule)
            assert {n: b.tolist() for n, b in copy.rule.named_buffers()} == {
                n: b.tolist() for n, b in connection.rule.named_buffers()
            }


def test_the_commands_save_what_was_learnt_and_freeze_it(tmp_path: Path, command: Callable) -> None:
    bundle = export(RULES["post-pre"](), tmp_path / "learning", golden_steps=0)
    inputs, state, frozen = tmp_path / "in.safetensors", tmp_path / "state.safetensors", tmp_path / "frozen"
    write_tensors(inputs, inputs_for(bundle))
    status, _, error = command(
        "run", bundle.path, "--input", inputs, "--output", tmp_path / "out.safetensors", "--state-out", state,
        "--normalise-every", 20,
    )  # fmt: skip
    assert status == 0, error
    learnt = read_tensors(state)
    np.testing.assert_allclose(np.abs(learnt["X_to_Y.w"]).sum(0), 12, rtol=1e-6)
    status, _, error = command("export", bundle.path, "--state", state, "--set", "learning=false", "-o", frozen)
    assert status == 0, error
    constant = Bundle.open(frozen)
    assert not constant.contract.weights
    assert "Y.theta" not in constant.initial_rows
    np.testing.assert_array_equal(constant.parameters()["connections.0.w"], learnt["X_to_Y.w"])
    np.testing.assert_array_equal(constant.parameters()["layers.Y.neuron.theta"], learnt["Y.theta"])
    status, _, error = command("export", frozen, "--set", "learning=true", "-o", tmp_path / "again", "--format", "onnx")
    assert status == 0, error
    np.testing.assert_array_equal(Bundle.open(tmp_path / "again").initial_rows["X_to_Y.w"], learnt["X_to_Y.w"])
