"""Networks: the laws of a program, qualified names, and errors that name the wrong call."""

from collections.abc import Callable

import pytest
import torch

from deploy_snn import neurons
from deploy_snn.contract import Operation, Rounding
from deploy_snn.errors import InvalidInput
from deploy_snn.network import Conv2d, Dense, Lateral, LocalConnection2d, MaxPool2d, MeanField, Network, OneToOne, Sparse

LIF, Input = neurons.LIFNodes, neurons.Input


def small(**options: object) -> Network:
    torch.manual_seed(0)
    network = Network(**options)
    network.add_layer(Input(n=6), "X")
    network.add_layer(neurons.DiehlAndCookNodes(n=4, learning=False), "exc", external=True)
    network.add_layer(LIF(n=4), "inh")
    network.add_connection(Dense(8 * torch.rand(6, 4)), "X", "exc")
    network.add_connection(OneToOne(14.0), "exc", "inh")
    network.add_connection(Lateral(-3.0), "inh", "exc")
    return network


def test_names() -> None:
    contract = small(record=["X.s", "exc.v"]).contract
    assert [str(spec) for spec in contract.inputs] == [
        "X.x float32 [batch, 6]", "exc.noise float32 [batch, 4]", "exc.x float32 [batch, 4]"
    ]  # fmt: skip
    assert [spec.name for spec in contract.states] == [
        "X.previous", "exc.v", "exc.refrac_count", "exc.previous", "inh.v", "inh.refrac_count", "inh.previous"
    ]  # fmt: skip
    assert [spec.name for spec in contract.outputs] == ["exc.s", "inh.s", "X.s", "record.exc.v"]
    assert contract.rounding == (Rounding(tensor="X_to_exc", operation=Operation.SUM),)
    through = small(one_step=True).contract
    assert [spec.name for spec in through.states if spec.name.endswith("previous")] == ["inh.previous"]


@pytest.mark.parametrize("one_step", [False, True])
def test_laws(one_step: bool) -> None:
    network = small(one_step=one_step)
    inputs = {spec.name: torch.rand(40, *spec.shape(batch=3)) for spec in network.contract.inputs}
    inputs["X.x"] = (inputs["X.x"] < 0.3).float()
    kept = {name: values.clone() for name, values in inputs.items()}
    start = network.initial_state(3)
    kept_start = {name: values.clone() for name, values in start.items()}
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    whole, last = network.rollout(inputs, start)
    assert whole["exc.s"].any()
    assert whole["inh.s"].any()
    assert all(torch.equal(inputs[name], kept[name]) for name in kept), "an input was changed"
    assert all(torch.equal(start[name], kept_start[name]) for name in start), "the state was changed"
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers()), "a buffer was changed"
    first, between = network.rollout({name: values[:13] for name, values in inputs.items()}, start)
    second, end = network.rollout({name: values[13:] for name, values in inputs.items()}, between)
    assert all(torch.equal(torch.cat([first[name], second[name]]), whole[name]) for name in whole), (
        "a split sequence differs from the whole"
    )
    assert all(torch.equal(end[name], last[name]) for name in last)
    for row in range(3):
        single, _ = network.rollout(
            {name: values[:, row : row + 1] for name, values in inputs.items()}, network.initial_state(1)
        )
        assert all(torch.equal(single[name][:, 0], whole[name][:, row]) for name in whole), (
            "a row of a batch differs from the row alone"
        )


def test_threshold_inputs_of_every_layer() -> None:
    network = small()
    state = network.initial_state(2)
    crossed = 0
    for _ in range(40):
        inputs = {spec.name: torch.rand(spec.shape(batch=2)) for spec in network.contract.inputs}
        seen = network.threshold_inputs(inputs, state)
        outputs, state = network(inputs, state)
        value, threshold = seen["inh.s"]
        assert torch.equal(value >= threshold, outputs["inh.s"])
        value, threshold = seen["exc.s"]
        assert torch.equal(
            (value >= threshold).any(1), outputs["exc.s"].any(1)
        )  # one_spike keeps one of the neurons above the threshold
        crossed += int(outputs["inh.s"].sum())
    assert crossed
    assert not network.layers["exc"].neuron._forward_pre_hooks, "a hook was not removed"


def build_with(*steps: Callable[[Network], object]) -> Callable[[], object]:
    def build() -> object:
        network = Network()
        network.add_layer(Input(n=6), "X")
        network.add_layer(LIF(n=4), "exc")
        network.add_layer(LIF(shape=(2, 3, 3)), "map")
        for step in steps:
            step(network)
        return network.finish()

    return build


def connect(connection: object, source: str = "X", target: str = "exc") -> Callable[[Network], object]:
    return lambda network: network.add_connection(connection, source, target)


USED = Dense(torch.ones(6, 4))
ERRORS = [
    (
        build_with(),
        r"layer 'exc' has no input: call add_connection\(\.\.\., target='exc'\), or add_layer\(.*'exc', external=True\)",
    ),
    (
        build_with(connect(Dense(torch.ones(6, 4)), "Y")),
        r"add_connection\(\.\.\., 'Y', 'exc'\): unknown layer 'Y'; choose from X, exc",
    ),
    (
        build_with(connect(Dense(torch.ones(6, 5)))),
        r"Dense from 'X' \[6\] to 'exc' \[4\]: w is \[6, 5\], expected \[6, 4\]",
    ),
    (build_with(connect(Dense(torch.ones(6, 4), torch.ones(3)))), r"b is \[3\], expected \[4\]"),
    (build_with(connect(OneToOne(1.0))), "the source and the target must have the same shape"),
    (build_with(connect(Lateral(1.0))), "must have the same shape"),
    (build_with(connect(MeanField(torch.ones(3)))), r"w is \[3\], expected one number or \[4\]"),
    (build_with(connect(Sparse(torch.ones(4, 6)))), r"w is \[4, 6\], expected \[6, 4\]"),
    (
        build_with(connect(Conv2d(torch.ones(2, 1, 3, 3)), "X", "map")),
        "the shape of the source must be channels and 2 sizes",
    ),
    (build_with(connect(Conv2d(torch.ones(2, 1, 3, 3)), "map", "map")), "has 2 channels; w .* needs 1"),
    (build_with(connect(Conv2d(torch.ones(2, 2, 3, 3)), "map", "map")), r"the convolution outputs \[2, 1, 1\]"),
    (build_with(connect(MaxPool2d(2), "map", "map")), r"the pooling outputs \[2, 1, 1\]"),
    (build_with(connect(LocalConnection2d(torch.ones(2, 8, 4), 2, 1), "map", "map")), "must be the number of filters and"),
    (build_with(connect(Dense(torch.ones(4, 6)), "exc", "X")), "'X' is an Input layer"),
    (
        build_with(connect(Dense(torch.ones(6, 4))), connect(Dense(torch.ones(6, 4)))),
        "already connected; put the sum of the weights into one connection",
    ),
    (build_with(connect(USED), connect(USED, "X", "exc")), "already connected"),
    (build_with(lambda n: n.add_layer(LIF(n=3), "exc")), "'exc'\\): the name 'exc' is already in use by a layer"),
    (build_with(lambda n: n.add_layer(LIF(n=3), "two words")), "letters, digits, underscores"),
    (build_with(lambda n: n.add_layer(LIF(n=3, dt=0.5), "fast")), "dt is 0.5 ms, but the other layers have 1.0 ms"),
    (build_with(lambda n: n.add_layer(LIF(n=3), "class")), "and not a keyword"),
    (build_with(lambda n: n.add_layer(LIF(n=3), 3)), "a name must be a Python identifier"),
    (
        build_with(lambda n: n.add_layer(LIF(n=3), "values")),
        r"add_layer\(\.\.\., 'values'\): torch uses the name 'values' itself",
    ),
    (build_with(lambda n: n.add_layer(n.layers["exc"].neuron, "twin")), "these neurons are already layer 'exc'"),
    (build_with(lambda n: n.add_layer(Network(), "part")), "expected a neuron such as .*, not a Network"),
    (build_with(connect(torch.ones(6, 4))), "expected a connection such as .*, not a Tensor"),
    # States of a connection have its name as prefix, so no layer may have the same name.
    (
        build_with(connect(Dense(torch.ones(6, 4))), lambda n: n.add_layer(LIF(n=3), "X_to_exc")),
        "the name 'X_to_exc' is already in use by the connection",
    ),
    (
        build_with(lambda n: n.add_layer(LIF(n=4), "X_to_exc"), connect(Dense(torch.ones(6, 4)))),
        "the name 'X_to_exc' is already in use by a layer",
    ),
    (
        build_with(
            lambda n: n.add_layer(LIF(n=4), "exc_to_exc"),
            connect(OneToOne(1.0), "exc", "exc_to_exc"),
            connect(OneToOne(1.0), "exc_to_exc", "exc"),
        ),
        "the name 'exc_to_exc_to_exc' is already in use by the connection from 'exc' to 'exc_to_exc'",
    ),
    (lambda: Dense(torch.full((6, 4), torch.nan)), "holds NaN"),
    (lambda: Conv2d(torch.ones(1, 1, 3, 3), stride=0), "stride=0: expected one integer or 2 integers, at least 1"),
    (lambda: Conv2d(torch.ones(1, 1, 3, 3), stride=1.5), "stride=1.5: expected"),
    (lambda: LocalConnection2d(torch.ones(2, 8, 4), 2, stride=0), "stride=0"),
    (lambda: MaxPool2d("2"), "kernel_size='2'"),
    (lambda: MaxPool2d(2, padding=-1), "padding=-1: .* at least 0"),
    (lambda: MaxPool2d(2, decay="2"), "decay"),
    (lambda: MaxPool2d(2, decay=1.5), "expected a fraction"),
    (lambda: Conv2d(torch.ones(1, 1, 3, 3), stride=(1, 2, 3)), "expected one integer or 2 integers"),
    (lambda: Network().finish(), r"the network is empty; call add_layer\(\.\.\.\) first"),
    (lambda: small(record=["exc.u"]).finish(), "record: unknown name 'exc.u'; choose from X.s, exc.s"),
]


@pytest.mark.parametrize(("build", "message"), ERRORS)
def test_errors(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build()


def test_network_without_an_input_is_an_error() -> None:
    network = Network()
    network.add_layer(neurons.BoostedLIFNodes(n=4), "lone")
    with pytest.raises(InvalidInput, match="the network has no input"):
        network.finish()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inputs: inputs.pop("X.x"), "input 'X.x' is missing"),
        (lambda inputs: inputs.update({"Y.x": torch.ones(2, 6)}), "unknown input 'Y.x'"),
        (
            lambda inputs: inputs.update({"exc.x": torch.ones(1, 4)}),
            "axis 'batch' is 1, not 2",
        ),  # without a check it would broadcast
        (lambda inputs: inputs.update({"X.x": torch.ones(2, 6, dtype=torch.int64)}), "convert it to float32"),
    ],
)
def test_invalid_step_arguments(change: Callable[[dict[str, torch.Tensor]], object], message: str) -> None:
    network = small()
    inputs = {spec.name: torch.ones(spec.shape(batch=2)) for spec in network.contract.inputs}
    network(inputs, network.initial_state(2))
    change(inputs)
    with pytest.raises(InvalidInput, match=message):
        network(inputs, network.initial_state(2))


def test_empty_sequence() -> None:
    network = small()
    with pytest.raises(ValueError, match="the inputs are empty"):
        network.rollout(
            {spec.name: torch.zeros(0, *spec.shape(batch=1)) for spec in network.contract.inputs}, network.initial_state(1)
        )


def test_network_without_outputs_is_an_error() -> None:
    network = Network()
    network.add_layer(Input(n=3), "X")
    with pytest.raises(InvalidInput, match=r"the network has no output: .* record=\['X\.s'\]"):
        network.finish()
