"""Every node of NIR 1.0 against its equation, in plain numpy loops that use none of our neurons or networks."""

from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
import torch
from torch.nn import functional

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir import read_nir

from .nir_runs import steps, through_file

STEPS, BATCH = 60, 2
DT = 0.5e-3  # seconds


def each(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


R, LEAK, RESET, THRESHOLD = each(1.5, 2.0, 4.0), each(0.0, 0.1, -0.2), each(0.0, -0.5, 0.25), each(0.5, 0.4, 0.75)
TAU, SYN, W_IN = each(2e-3, 4e-3, 1e-3), each(1e-3, 2e-3, 4e-3), each(1.0, 2.0, 0.5)


def euler(node: nir.NIRNode, x: np.ndarray) -> np.ndarray:
    """Integrate NIR's equations with Euler's method in float64, current before potential. Return the output ``[T, N]``."""
    p = vars(node)
    v = np.array(p.get("v_leak", p.get("v_reset", np.zeros(3))), np.float64)
    i, sent = np.zeros(3), []
    for now in x.astype(np.float64):
        drive = now
        if "tau_syn" in p:
            i = i + DT / p["tau_syn"] * (-i + p["w_in"] * now)
            drive = i
        tau = p.get("tau", p.get("tau_mem"))
        v = v + DT * p["r"] * drive if tau is None else v + DT / tau * (p["v_leak"] - v + p["r"] * drive)
        if "v_threshold" not in p:
            sent.append(v)
            continue
        assert (np.abs(v - p["v_threshold"]) > 1e-6).all(), (
            "a potential is too near to the threshold to compare float32 with float64"
        )
        z = v > p["v_threshold"]
        v = np.where(z, p["v_reset"], v)
        sent.append(z)
    return np.array(sent, np.float64)


def delayed(node: nir.NIRNode, x: np.ndarray) -> np.ndarray:
    sent = np.zeros_like(x)
    for t in range(len(x)):
        for j, delay in enumerate(np.round(node.delay / DT).astype(int)):
            sent[t, j] = x[t - delay, j] if t >= delay else 0
    return sent


def with_numpy(x: np.ndarray, layer: object) -> np.ndarray:
    return layer(torch.from_numpy(x)).numpy()


LI = {"r": R, "v_leak": LEAK}
FIRES = {"v_threshold": THRESHOLD, "v_reset": RESET}
CONV1, CONV2, BIAS = (np.random.default_rng(0).standard_normal(size) for size in ((4, 1, 3), (4, 2, 3, 2), (4,)))
NODES = [
    (nir.I(r=R / DT), (3,), euler),
    (nir.IF(r=R / DT, **FIRES), (3,), euler),
    (nir.LI(tau=TAU, **LI), (3,), euler),
    (nir.LIF(tau=TAU, **LI, **FIRES), (3,), euler),
    (nir.CubaLI(tau_syn=SYN, tau_mem=TAU, w_in=W_IN, **LI), (3,), euler),
    (nir.CubaLIF(tau_syn=SYN, tau_mem=TAU, w_in=W_IN, **LI, **FIRES), (3,), euler),
    (nir.Threshold(THRESHOLD), (3,), lambda node, x: x > node.threshold),
    (nir.Delay(each(0, 1e-3, 3.5e-3)), (3,), delayed),
    (nir.Delay(each(0.5e-3, 1e-3, 3.5e-3)), (3,), delayed),
    (nir.Scale(W_IN), (3,), lambda node, x: x * node.scale),
    (nir.Linear(CONV1[:, 0]), (3,), lambda node, x: x @ node.weight.T),
    (nir.Affine(CONV1[:, 0], BIAS), (3,), lambda node, x: x @ node.weight.T + node.bias),
    (nir.Flatten(np.array([2, 3, 2]), 1, 2), (2, 3, 2), lambda _, x: x.reshape(-1, 2, 6)),
    (nir.Flatten(np.array([2, 3, 2]), 0, -1), (2, 3, 2), lambda _, x: x.reshape(-1, 12)),
    (
        nir.Conv1d(9, CONV1, stride=2, padding=1, dilation=1, groups=2, bias=BIAS),
        (2, 9),
        lambda _, x: with_numpy(
            x, lambda z: functional.conv1d(z, torch.from_numpy(CONV1), torch.from_numpy(BIAS), 2, 1, 1, 2)
        ),
    ),
    (
        nir.Conv2d((5, 6), CONV2, stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=1, bias=BIAS),
        (2, 5, 6),
        lambda _, x: with_numpy(
            x, lambda z: functional.conv2d(z, torch.from_numpy(CONV2), torch.from_numpy(BIAS), (2, 1), (1, 0), (1, 2))
        ),
    ),
    (
        nir.Conv2d((5, 6), CONV2[:, :, :, :1], stride=1, padding="same", dilation=1, groups=1, bias=0 * BIAS),
        (2, 5, 6),
        lambda _, x: with_numpy(x, lambda z: functional.conv2d(z, torch.from_numpy(CONV2[:, :, :, :1]), padding="same")),
    ),
    (
        nir.SumPool2d(np.array([2, 3]), np.array([2, 1]), np.array([0, 1])),
        (2, 5, 6),
        lambda _, x: with_numpy(x, lambda z: 6 * functional.avg_pool2d(z, (2, 3), (2, 1), (0, 1))),
    ),
    (
        nir.AvgPool2d(np.array([2, 3]), np.array([2, 1]), np.array([0, 1])),
        (2, 5, 6),
        lambda _, x: with_numpy(x, lambda z: functional.avg_pool2d(z, (2, 3), (2, 1), (0, 1))),
    ),
]


@pytest.mark.parametrize(("node", "shape", "equation"), NODES, ids=lambda value: type(value).__name__)
def test_equation_of_each_node(node: nir.NIRNode, shape: tuple[int, ...], equation: object, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((STEPS, BATCH, *shape)).astype(np.float32)
    wanted = np.stack([np.asarray(equation(node, x[:, row].astype(np.float64)), np.float64) for row in range(BATCH)], 1)
    graph = nir.NIRGraph(
        {"in": nir.Input(np.array(shape)), "it": node, "out": nir.Output(np.array(wanted.shape[2:]))},
        [("in", "it"), ("it", "out")],
        type_check=False,
    )
    imported = through_file(graph, tmp_path, dt=DT * 1e3)
    outputs = steps(imported.network, torch.from_numpy(x))
    sent = outputs["it.s"] if "it.s" in outputs else outputs["out.s"]
    if sent.dtype == torch.bool:
        assert 0.02 < wanted.mean() < 0.9
        np.testing.assert_array_equal(sent.numpy(), wanted.astype(bool))
    else:
        np.testing.assert_allclose(sent.numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert not imported.left_behind


def test_exponential_convention_is_exact(tmp_path: Path) -> None:
    """The exponential convention solves tau dv/dt = leak - v + r x exactly for a constant input, at any dt."""
    graph = nir.NIRGraph.from_list(nir.Input([3]), nir.LI(tau=TAU, **LI), nir.Output([3]))
    x = torch.randn(1, 1, 3).expand(20, 1, 3)
    v = steps(through_file(graph, tmp_path, dt=0.7, convention="exponential").network, x)["li.s"]
    t = 0.7e-3 * torch.arange(1, 21).double()[:, None, None]
    asymptote = torch.from_numpy(LEAK) + torch.from_numpy(R) * x.double()
    wanted = asymptote + (torch.from_numpy(LEAK) - asymptote) * torch.exp(-t / torch.from_numpy(TAU))
    torch.testing.assert_close(v.double(), wanted, rtol=1e-5, atol=1e-6)


def test_subgraphs_and_branches(tmp_path: Path) -> None:
    """Subgraphs, and paths that join and branch: an Affine gets (x + 2 x) + x, adds its bias once, and has two targets."""
    w, b = np.eye(3) * 0.5, each(1.0, 2.0, 3.0)
    inner = nir.NIRGraph(
        {"input": nir.Input([3]), "double": nir.Scale(each(2, 2, 2)), "output": nir.Output([3])},
        [("input", "double"), ("double", "output"), ("input", "output")],
    )
    outer = nir.NIRGraph(
        {"input": nir.Input([3]), "core": inner, "output": nir.Output([3])}, [("input", "core"), ("core", "output")]
    )
    graph = nir.NIRGraph(
        {
            "x": nir.Input([3]),
            "triple": outer,
            "w": nir.Affine(w, b),
            "li": nir.I(r=np.ones(3) / DT),
            "gate": nir.Threshold(each(3, 3, 3)),
            "a": nir.Output([3]),
            "c": nir.Output([3]),
        },
        [("x", "triple"), ("triple", "w"), ("x", "w"), ("w", "li"), ("w", "gate"), ("li", "a"), ("gate", "c")],
        type_check=False,
    )
    x = torch.randn(STEPS, BATCH, 3)
    outputs = steps(through_file(graph, tmp_path, dt=DT * 1e3).network, x)
    affine = 2 * x + torch.tensor(b)
    torch.testing.assert_close(outputs["li.s"].double(), affine.cumsum(0), rtol=1e-4, atol=1e-4)
    assert torch.equal(outputs["gate.s"], affine > 3)


def test_loops_and_delays(tmp_path: Path) -> None:
    """A loop without a delay node acts one step later; a loop with a delay of three steps acts three steps later."""
    for delay, lag in ((None, 1), (3 * DT, 3)):
        nodes = {"x": nir.Input([1]), "s": nir.Threshold(each(0.5)), "w": nir.Scale(each(2.0)), "out": nir.Output([1])}
        edges = [("x", "s"), ("s", "w"), ("s", "out")]
        if delay is None:
            edges += [("w", "s")]
        else:
            nodes["wait"] = nir.Delay(each(delay))
            edges += [("w", "wait"), ("wait", "s")]
        imported = through_file(nir.NIRGraph(nodes, edges), tmp_path, dt=DT * 1e3)
        x = torch.zeros(12, 1, 1)
        x[1] = 1
        fired = steps(imported.network, x)["s.s"].flatten().tolist()
        assert fired == [t >= 1 and (t - 1) % lag == 0 for t in range(12)]
        assert ("s -> s closes a loop, and acts one step later" in imported.notes) is (delay is None)


def test_delays_in_series_add_up(tmp_path: Path) -> None:
    nodes = {
        "x": nir.Input([2]),
        "a": nir.Delay(each(DT, 2 * DT)),
        "b": nir.Delay(each(3 * DT, DT)),
        "out": nir.Output([2]),
    }
    for edges in ([("x", "a"), ("a", "b"), ("b", "out")], [("x", "b"), ("b", "a"), ("a", "out")]):
        last = edges[-1][0]
        network = through_file(nir.NIRGraph(dict(nodes), list(edges)), tmp_path, dt=DT * 1e3).network
        x = torch.randn(STEPS, BATCH, 2)
        late = steps(network, x)[f"{last}.s"]
        assert torch.equal(late[4:, :, 0], x[:-4, :, 0])
        assert torch.equal(late[3:, :, 1], x[:-3, :, 1])
        assert not late[:3].any()


@pytest.mark.parametrize(("options", "sent"), [({}, [0.5, 0.0, -2.0]), ({"input": "spikes"}, [1.0, 0.0, 1.0])])
def test_inputs_of_numbers_and_of_spikes(options: dict[str, str], sent: list[float], tmp_path: Path) -> None:
    graph = nir.NIRGraph.from_list(nir.Input([3]), nir.I(r=np.full(3, 1 / DT)), nir.Output([3]))
    network = through_file(graph, tmp_path, dt=DT * 1e3, **options).network
    (values,) = steps(network, torch.tensor([[[0.5, 0.0, -2.0]]])).values()
    assert values.flatten().tolist() == pytest.approx(sent)


def test_unused_nodes_are_reported(tmp_path: Path) -> None:
    graph = nir.NIRGraph(
        {
            "x": nir.Input([3]),
            "it": nir.IF(r=R, v_threshold=THRESHOLD),
            "lost": nir.Linear(np.eye(3)),
            "out": nir.Output([3]),
        },
        [("x", "it"), ("it", "out"), ("it", "lost")],
        type_check=False,
    )
    assert through_file(graph, tmp_path, dt=1).left_behind == ("node 'lost' leads to no neuron and no output",)


def test_names_become_identifiers(tmp_path: Path) -> None:
    names = ["0", "class", "a.b", "a_b", "keys", "x_to_y"]
    nodes = {"in": nir.Input([3])} | {name: nir.IF(r=R, v_threshold=THRESHOLD) for name in names} | {"out": nir.Output([3])}
    chain = ["in", *names, "out"]
    network = through_file(nir.NIRGraph(nodes, list(pairwise(chain))), tmp_path, dt=1).network
    assert list(network.layers) == ["in_", "n0", "class_", "a_b", "a_b_2", "keys_", "x_into_y"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "does not state the length of a step, nor does convention=euler: set dt (in ms), or name the writer"),
        ({"dt": 0}, "dt=0: expected a number of ms greater than 0"),
        ({"dt": "fast"}, "dt='fast': expected a number of ms"),
        ({"dt": 10}, "node 'lif' (LIF): a time constant of 0.001 is shorter than a step"),
        ({"dt": 0.3, "delay": True}, "unknown option delay; a NIR file takes dt, convention, reset, input"),
        ({"convention": "brian"}, "unknown convention 'brian'; choose from euler, exponential, snntorch, norse"),
        ({"dt": 1, "reset": "never"}, "reset=never: expected value, subtract"),
        ({"dt": 1, "input": "currents"}, "input=currents: expected values or spikes"),
        ({"dt": 1, "reset": "subtract"}, "node 'lif' (LIF): it has a v_reset, and reset=subtract subtracts the threshold"),
    ],
)
def test_invalid_options(options: dict[str, object], sentence: str, tmp_path: Path) -> None:
    graph = nir.NIRGraph.from_list(nir.Input([3]), nir.LIF(tau=TAU, **LI, **FIRES), nir.Output([3]))
    nir.write(tmp_path / "graph.nir", graph)
    with pytest.raises(InvalidInput) as message:
        read_nir(tmp_path / "graph.nir", options)
    assert sentence in str(message.value)
