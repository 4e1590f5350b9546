"""Each connection against its definition, in plain loops or in double precision, and the laws of all connections."""

import copy
import itertools
from collections.abc import Callable

import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv1d, conv2d, conv3d

from deploy_snn.contract import Role
from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.onnx import Onnx
from deploy_snn.lowering import Lowered
from deploy_snn.network import (
    AvgPool2d,
    Connection,
    Conv1d,
    Conv2d,
    Conv3d,
    Dense,
    Lateral,
    LocalConnection1d,
    LocalConnection2d,
    LocalConnection3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MeanField,
    Network,
    OneToOne,
    Reshape,
    Sparse,
    StochasticDense,
    SumPool2d,
    rebuild_program,
    snap_weights,
    structure_of,
)
from deploy_snn.network.grid import is_exact
from deploy_snn.neurons import IFNodes, Input
from deploy_snn.registry import CONNECTIONS
from deploy_snn.torch_internals import script

torch.manual_seed(0)
W46, B6, W3 = torch.rand(4, 6), torch.rand(6), torch.randn(3)
CONV1, CONV2, CONV3 = torch.randn(3, 2, 2), torch.randn(3, 2, 3, 2), torch.randn(2, 1, 2, 2, 2)
LOCAL1, LOCAL2, LOCAL3 = torch.randn(2, 9, 2), torch.randn(2, 12, 6), torch.randn(1, 8, 8)
SPARSE = (torch.rand(4, 6) < 0.4) * torch.randn(4, 6)


def local(z: Tensor, w: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """``out[f, place] = sum over channels and kernel of z * w``, place by place."""
    sizes = [(n - k) // s + 1 for n, k, s in zip(z.shape[2:], kernel, stride, strict=True)]
    places = list(itertools.product(*map(range, sizes)))
    out = torch.zeros(len(z), w.shape[1], dtype=torch.float64)
    for index in range(w.shape[1]):
        place = places[index % len(places)]
        field = z[
            (slice(None), slice(None), *(slice(p * s, p * s + k) for p, s, k in zip(place, stride, kernel, strict=True)))
        ]
        out[:, index] = (field.flatten(2) * w[:, index]).sum((1, 2))
    return out.reshape(len(z), -1, *sizes)


SUMS = [
    (Dense(W46, B6), (2, 2), (6,), lambda z: z.flatten(1) @ W46.double() + B6),
    (Dense(W46), (4,), (3, 2), lambda z: (z @ W46.double()).reshape(-1, 3, 2)),
    (Sparse(SPARSE), (4,), (6,), lambda z: z @ SPARSE.double()),
    (Sparse(SPARSE.to_sparse()), (4,), (2, 3), lambda z: (z @ SPARSE.double()).reshape(-1, 2, 3)),
    (OneToOne(W3), (3,), (3,), lambda z: z * W3),
    (Lateral(-2.5), (2, 3), (2, 3), lambda z: torch.stack([-2.5 * (row.sum() - row) for row in z])),
    (MeanField(W3), (2, 2), (3,), lambda z: z.flatten(1).mean(1)[:, None] * W3),
    (MeanField(2.0), (5,), (2, 2), lambda z: (2 * z.mean(1))[:, None, None].expand(-1, 2, 2)),
    (Conv1d(CONV1, W3, stride=2, padding=1, dilation=2), (2, 7), (3, 4),
     lambda z: conv1d(z, CONV1.double(), W3.double(), 2, 1, 2)),
    (Conv2d(CONV2, stride=(1, 2), padding=1), (2, 5, 4), (3, 5, 3), lambda z: conv2d(z, CONV2.double(), None, (1, 2), 1)),
    (Conv2d(CONV2.repeat(2, 1, 1, 1), groups=2), (4, 5, 4), (6, 3, 3),
     lambda z: conv2d(z, CONV2.repeat(2, 1, 1, 1).double(), None, groups=2)),
    (SumPool2d(2), (2, 5, 4), (2, 2, 2), lambda z: 4 * avg_pool2d(z, 2)),
    (SumPool2d((3, 2), 1, (1, 0)), (2, 5, 4), (2, 5, 3), lambda z: 6 * avg_pool2d(z, (3, 2), 1, (1, 0))),
    (AvgPool2d(3, 2, 1), (2, 5, 4), (2, 3, 2), lambda z: avg_pool2d(z, 3, 2, 1)),
    (Reshape(), (2, 3, 2), (4, 3), lambda z: z.reshape(-1, 4, 3)),
    (Conv3d(CONV3), (1, 3, 3, 3), (2, 2, 2, 2), lambda z: conv3d(z, CONV3.double())),
    (LocalConnection1d(LOCAL1, 2, 2), (2, 6), (3, 3), lambda z: local(z, LOCAL1, (2,), (2,))),
    (LocalConnection2d(LOCAL2, (3, 2), (1, 2)), (2, 4, 6), (2, 2, 3), lambda z: local(z, LOCAL2, (3, 2), (1, 2))),
    (LocalConnection3d(LOCAL3, 2), (1, 2, 3, 3), (2, 1, 2, 2), lambda z: local(z, LOCAL3, (2, 2, 2), (1, 1, 1))),
]  # fmt: skip


@pytest.mark.parametrize(("made", "source", "target", "definition"), SUMS, ids=lambda v: type(v).__name__)
def test_sums(made: Connection, source: tuple, target: tuple, definition: object) -> None:
    made.attach("a", source, "b", target)
    z = (torch.rand(5, 4, *source) < 0.5).float()
    for step in z:
        drive = made(step, {}, {}, {})
        assert drive.shape == (4, *target)
        torch.testing.assert_close(drive.double(), definition(step.double()).double(), rtol=1e-5, atol=1e-5)
    together = made.over_time(z, {})
    assert together.shape == (5, 4, *target)
    torch.testing.assert_close(together, torch.stack([made(step, {}, {}, {}) for step in z]), rtol=1e-5, atol=1e-5)


def test_stochastic_synapses() -> None:
    """Each synapse of each row has its own noise, and transmits if the noise is below the probability."""
    w, p, b = torch.randn(4, 6), torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(6, 1).T.contiguous(), torch.randn(6)
    made = StochasticDense(w, p, b)
    made.attach("a", (2, 2), "b", (2, 3))
    z, noise = (torch.rand(7, 3, 2, 2) < 0.5).float(), torch.randint(4, (7, 3, 4, 6)) / 4
    assert made.noise().shape(batch=3) == noise.shape[1:]
    heard = torch.einsum("tbn,tbnm->tbm", z.flatten(2).double(), (noise < p) * w.double()) + b
    for step in range(7):
        drive = made(z[step], {"a_to_b.noise": noise[step]}, {}, {})
        torch.testing.assert_close(drive.double(), heard[step].reshape(3, 2, 3), rtol=1e-5, atol=1e-5)
    together = made.over_time(z, {"a_to_b.noise": noise})
    torch.testing.assert_close(together.double(), heard.reshape(7, 3, 2, 3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("p", "message"), [(1.5, "must hold probabilities"), (torch.rand(3, 3), r"p is \[3, 3\]")])
def test_invalid_probabilities(p: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        StochasticDense(torch.ones(2, 3), p).attach("a", (2,), "b", (3,))


POOLS = [
    (MaxPool1d(2, decay=0.25), (2, 6), (2, 3), (2,), (2,), 0),
    (MaxPool2d(2, decay=0.1), (2, 4, 4), (2, 2, 2), (2, 2), (2, 2), 0),
    (MaxPool2d((3, 2), stride=1, padding=1), (1, 4, 3), (1, 4, 4), (3, 2), (1, 1), 1),
    (MaxPool3d(2, decay=0.5), (1, 2, 4, 2), (1, 1, 2, 1), (2, 2, 2), (2, 2, 2), 0),
]


@pytest.mark.parametrize(("made", "source", "target", "kernel", "stride", "padding"), POOLS)
def test_pooling(made: Connection, source: tuple, target: tuple, kernel: tuple, stride: tuple, padding: int) -> None:  # noqa: PLR0917
    """Each field outputs the spike of the source with the highest rate; of equal rates, the first in row-major order."""
    made.attach("a", source, "b", target)
    state = {"a_to_b.rates": torch.zeros(3, *source)}
    rates = torch.zeros(3, *source, dtype=torch.float64)
    for _ in range(12):
        z = (torch.rand(3, *source) < 0.4).float()
        after: dict[str, Tensor] = {}
        drive = made(z, {}, state, after)
        rates = rates - made.decay.double() * rates + z
        torch.testing.assert_close(after["a_to_b.rates"].double(), rates, rtol=1e-5, atol=1e-6)
        for row, channel in itertools.product(range(3), range(source[0])):
            for place in itertools.product(*map(range, target[1:])):
                spans = [range(p * s - padding, p * s - padding + k) for p, s, k in zip(place, stride, kernel, strict=True)]
                field = [
                    i for i in itertools.product(*spans) if all(0 <= j < n for j, n in zip(i, source[1:], strict=True))
                ]
                best = max(
                    field, key=lambda i: after["a_to_b.rates"][(row, channel, *i)].item()
                )  # the first of equal rates
                assert drive[(row, channel, *place)] == z[(row, channel, *best)]
        state = after


EXAMPLES = {type(row[0]): row[:3] for row in reversed([*SUMS, *POOLS])}
EXAMPLES |= {StochasticDense: (StochasticDense(W46, 0.5, B6), (4,), (6,)), Sparse: (Sparse(SPARSE), (2, 2), (6,))}
EXAMPLES = copy.deepcopy(EXAMPLES)  # copied before a test attaches them to layers
STEPS, ROWS = 12, 3
Tensors = dict[str, Tensor]


def network_with(name: str) -> Network:
    """A network of one connection from an input layer to IF neurons with recorded potentials; weights are multiples of 1/8.

    A class without an example is built with a matrix of weights, as Dense is, from 4 neurons to 6.
    """
    cls = CONNECTIONS[name]
    connection, source, target = copy.deepcopy(EXAMPLES[cls]) if cls in EXAMPLES else (cls(W46), (4,), (6,))
    network = Network(record=["b.v"])
    network.add_layer(Input(shape=source), "a")
    network.add_layer(IFNodes(shape=target, thresh=2.0, reset=0.0, refrac=0, lbound=-2.0), "b")
    network.add_connection(connection, "a", "b")
    for buffer in connection.buffers():
        if buffer.is_floating_point():
            buffer.copy_((buffer * 8).round() / 8)
    return network


def inputs_of(network: Network) -> Tensors:
    """Random spikes or noise for every input: ``[T, B, *shape]``."""
    inputs, generator = {}, torch.Generator().manual_seed(1)
    for spec in network.contract.inputs:
        drawn = torch.rand((STEPS, *spec.shape(batch=ROWS)), generator=generator)
        inputs[spec.name] = drawn if spec.role == Role.NOISE else (drawn < 0.5).float()
    return inputs


def steps_of(program: Callable, inputs: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
    outputs = []
    for step in range(STEPS):
        now, state = program({key: sequence[step] for key, sequence in inputs.items()}, state)
        outputs.append(now)
    return {key: torch.stack([now[key] for now in outputs]) for key in outputs[0]}, state


def assert_same(actual: Tensors, expected: Tensors) -> None:
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(actual[key], value), key


@pytest.mark.parametrize("name", CONNECTIONS)
def test_laws(name: str) -> None:
    """Split = whole, rows = batch, arguments are not mutated, and a network rebuilt from its data is equal."""
    network = network_with(name)
    inputs, start = inputs_of(network), network.initial_state(ROWS)
    arguments = inputs | start | network.state_dict()
    before = {key: value.clone() for key, value in arguments.items()}
    whole, last = steps_of(network, inputs, start)
    assert_same(arguments, before)
    assert whole["record.b.v"].any()

    first, state = network.rollout({key: value[:5] for key, value in inputs.items()}, start)
    second, state = network.rollout({key: value[5:] for key, value in inputs.items()}, state)
    assert_same({key: torch.cat((first[key], second[key])) for key in first} | state, whole | last)
    for row in range(ROWS):
        alone, _ = steps_of(
            network, {key: value[:, row : row + 1] for key, value in inputs.items()}, network.initial_state(1)
        )
        assert_same(alone, {key: value[:, row : row + 1] for key, value in whole.items()})

    with torch.sparse.check_sparse_tensor_invariants(enable=True):
        rebuilt = rebuild_program(structure_of(network), to_numpy(network.state_dict()))
    assert rebuilt.contract == network.contract
    assert_same(steps_of(rebuilt, inputs, start)[0], whole)


@pytest.mark.parametrize("name", CONNECTIONS)
def test_torchscript_and_onnx_runtime_give_the_same_bits(name: str) -> None:
    network = network_with(name)
    inputs, start = inputs_of(network), network.initial_state(ROWS)
    expected, last = steps_of(network, inputs, start)
    outputs, state = steps_of(script(network), inputs, start)
    assert_same(outputs | state, expected | last)

    model = Onnx().step_graph(Lowered(network)).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    def step(now: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        results = map(torch.from_numpy, session.run(None, to_numpy(now | state)))
        given = dict(zip(names, results, strict=True))
        return {key: given[key] for key in expected}, {key: given[f"next.{key}"] for key in state}

    outputs, state = steps_of(step, inputs, start)
    assert_same(outputs | state, expected | last)


@pytest.mark.parametrize("name", [name for name in CONNECTIONS if CONNECTIONS[name].EXACT == "sums"])
def test_declared_sums_are_upper_bounds(name: str) -> None:
    (connection,) = network_with(name).connections
    assert connection.summed_weights()
    z = (torch.rand(200, *connection.source_shape) < 0.5).float()
    assert connection.transmit(z).double().abs().max() <= connection.largest_sums().max()


def exact_sums_of(made: Connection) -> Tensor:
    return made.largest_sums()


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(4, 14), st.integers(2, 60))
def test_snapped_sums_do_not_depend_on_the_order(seed: int, bits: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    made = Dense(3 * torch.randn(n, 5, generator=generator), torch.randn(5, generator=generator))
    made.attach("a", (n,), "b", (5,))
    before = made.w.clone()
    (snapped,) = snap_weights([made], bits)
    assert is_exact(made)
    assert float((made.w - before).abs().max()) <= snapped.largest_change <= 2.0**-bits
    assert snapped.weights == (n + 1) * 5
    assert torch.equal(made.w, torch.round(before.double() * 2**bits).div(2**bits).float())
    z = (torch.rand(n, generator=generator) < 0.5).float()
    sums = set()
    for _ in range(6):
        order = torch.randperm(n, generator=generator)
        total = made.b[0].clone()
        for i in order:
            total = total + z[i] * made.w[i, 0]
        sums.add(total.item())
    assert len(sums) == 1
    assert snap_weights([made], bits)[0].changed == 0


def test_snapping_fails_if_sums_would_round() -> None:
    made = Dense(torch.full((100, 3), 1.7))
    made.attach("a", (100,), "b", (3,))
    with pytest.raises(
        InvalidInput, match=r"the weights of a_to_b sum to 170 for one target neuron, but .* up to 16: use 16 bits or fewer"
    ):
        snap_weights([made], 20)
    slightly_too_large = Dense(torch.full((33, 1), 0.5))  # the sum is 16.5; with 20 bits it may be 16 at most
    slightly_too_large.attach("a", (33,), "b", (1,))
    with pytest.raises(InvalidInput, match="use 19 bits or fewer"):
        snap_weights([slightly_too_large], 20)
    fits = Dense(torch.full((100, 3), 1.7))
    fits.attach("a", (100,), "b", (3,))
    snap_weights([fits], 16)
    assert is_exact(fits)
    assert not is_exact(made)
    assert torch.equal(made.w, torch.full((100, 3), 1.7)), "a rejected call changed the weights"
    with pytest.raises(InvalidInput, match="bits=25: expected 0 to 24"):
        snap_weights([fits], 25)


def test_sum_one_unit_above_the_exact_limit() -> None:
    # In float32 the sum 16 + 2**-20 + 2**-20 rounds to 16, which would be within the limit.
    made = Dense(torch.tensor([[16.0], [2.0**-20]]), torch.tensor([2.0**-20]))
    made.attach("a", (2,), "b", (1,))
    assert not is_exact(made)
    with pytest.raises(InvalidInput, match="use 19 bits or fewer"):
        snap_weights([made], 20)
    # One unit above the limit on this grid and on the next coarser ones: the error names a number of bits that works.
    coarser = Dense(torch.tensor([[1 - 2.0**-22]] * 16 + [[2.0**-19]]))
    coarser.attach("a", (17,), "b", (1,))
    with pytest.raises(InvalidInput, match="use 19 bits or fewer"):
        snap_weights([coarser], 22)
    snap_weights([coarser], 19)
    assert is_exact(coarser)


def test_weights_off_the_grid_are_not_exact() -> None:
    made = Dense(torch.rand(10, 3))
    made.attach("a", (10,), "b", (3,))
    assert not is_exact(made)
    assert is_exact(OneToOne(torch.rand(3)))
    assert exact_sums_of(OneToOne(1.0)) is None


def test_exact_for_spikes_but_not_for_graded_input() -> None:
    for made, source, target in (
        (Lateral(0.5), (4,), (4,)),
        (SumPool2d(2), (1, 2, 2), (1, 1, 1)),
        (Dense(B6[None]), (1,), (6,)),
    ):
        made.attach("a", source, "b", target)
        snap_weights([made], 8)
        assert is_exact(made)
        assert not is_exact(made, graded=True)
    for made in (OneToOne(0.3), Reshape()):
        assert is_exact(made, graded=True)
