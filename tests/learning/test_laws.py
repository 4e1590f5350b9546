"""What holds for every learning rule of the registry."""

import pytest
import torch
from torch import Tensor

from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.learning import PostPre, Rule
from deploy_snn.network import Dense, Network, rebuild_program, structure_of
from deploy_snn.neurons import Input, LIFNodes, Relay, SRM0Nodes
from deploy_snn.registry import RULES
from deploy_snn.torch_internals import script

STEPS = 30


def network_of(rule: Rule) -> Network:
    torch.manual_seed(0)
    network = Network()
    network.add_layer(Input(n=6, traces=True, traces_additive=True), "X")
    random = "probability" in rule.READS
    target = SRM0Nodes(n=4, traces=True, probability=True) if random else LIFNodes(n=4, traces=True, thresh=-60.0)
    network.add_layer(target, "Y")
    network.add_connection(Dense(3 * torch.rand(6, 4), rule=rule), "X", "Y")
    return network.finish()


def inputs_of(network: Network, batch: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    drawn = {spec.name: torch.rand(STEPS, *spec.shape(batch=batch)) for spec in network.contract.inputs}
    return drawn | {"X.x": (drawn["X.x"] < 0.3).float()}


@pytest.mark.parametrize("name", RULES)
def test_scripted_in_place_and_step_by_step(name: str) -> None:
    """A rollout changes the weights in place, but not those that it was given; it equals the steps and TorchScript."""
    network = network_of(RULES[name](nu=(0.02, 0.05), wmin=0.0, wmax=3.0, weight_decay=1e-3))
    inputs, start = inputs_of(network, 2), network.initial_state(2)
    kept = {key: value.clone() for key, value in start.items()}
    _, last = network.rollout(inputs, start)
    _, scripted = script(network).rollout(inputs, start)
    state = start
    for step in range(STEPS):
        _, state = network({key: values[step] for key, values in inputs.items()}, state)
    for key in start:
        assert torch.equal(start[key], kept[key]), key
        assert torch.equal(last[key], state[key]), key
        torch.testing.assert_close(scripted[key], last[key], rtol=1e-6, atol=1e-6)
    w = last["X_to_Y.w"]
    assert (w >= 0).all()
    assert (w <= 3).all()
    decayed = kept["X_to_Y.w"].clone()
    for _ in range(STEPS):
        decayed *= network.connections[0].rule.kept
    assert not torch.allclose(w, decayed), "the rule changed nothing"


@pytest.mark.parametrize("name", RULES)
def test_rebuilt_from_data(name: str) -> None:
    network = network_of(RULES[name](nu=(0.02, 0.05), wmin=0.0, wmax=3.0, weight_decay=1e-3, mask=torch.eye(6)[:, :4]))
    again = rebuild_program(structure_of(network), to_numpy(network.state_dict()))
    assert again.contract == network.contract
    inputs, start = inputs_of(network, 1), network.initial_state(1)
    expected, actual = (program.rollout(inputs, start)[1] for program in (network, again))
    for key in start:
        assert torch.equal(actual[key], expected[key]), key
    assert not expected["X_to_Y.w"][:4].diagonal().any(), "masked weights are 0"


def plain(neuron: object, **options: object) -> Network:
    network = Network()
    network.add_layer(Input(n=6, traces=True, **options), "X")
    network.add_layer(neuron, "Y")
    return network


@pytest.mark.parametrize(
    ("make", "phrase"),
    [
        (lambda: PostPre(nu=(0.1, 0.2, 0.3)), "expected one finite number, or two"),
        (lambda: PostPre(nu="fast"), "expected numbers"),
        (lambda: PostPre(wmin=1.0, wmax=0.0), "wmin is greater than wmax"),
        (lambda: PostPre(weight_decay=1.0), "from 0 to below 1"),
        (lambda: RULES["weight-dependent-post-pre"](nu=0.1), "finite limits"),
        (lambda: plain(LIFNodes(n=4)).add_connection(Dense(torch.ones(6, 4), rule=PostPre()), "X", "Y"), "traces=True"),
        (lambda: plain(Relay(n=4)).add_connection(Dense(torch.ones(6, 4), rule=PostPre()), "X", "Y"), "sends numbers"),
        (
            lambda: plain(LIFNodes(n=4, traces=True), trace_scale=2.0).add_connection(
                Dense(torch.ones(6, 4), rule=PostPre()), "X", "Y"
            ),
            "trace_scale has no effect",
        ),
        (
            lambda: plain(LIFNodes(n=4, traces=True)).add_connection(
                Dense(torch.ones(6, 4), rule=PostPre(wmax=torch.ones(3))), "X", "Y"
            ),
            "wmax is",
        ),
        (lambda: network_of(RULES["rmax"](nu=0.1)) and Dense(torch.ones(2, 2), rule=3), "expected a learning rule"),
    ],
)
def test_errors_say_what_to_do(make: object, phrase: str) -> None:
    with pytest.raises(InvalidInput, match=phrase):
        make()
