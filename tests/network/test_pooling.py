"""Max pooling selects the same elements as torch's max pooling with indices, for all kernels, strides and paddings."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from deploy_snn import export, verify
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.onnx import Onnx
from deploy_snn.lowering import Lowered
from deploy_snn.network import Connection, MaxPool1d, MaxPool2d, MaxPool3d, Network
from deploy_snn.neurons import IFNodes, Input
from deploy_snn.parity import Tolerance

POOLS = {
    1: (MaxPool1d, functional.max_pool1d_with_indices),
    2: (MaxPool2d, functional.max_pool2d_with_indices),
    3: (MaxPool3d, functional.max_pool3d_with_indices),
}


@st.composite
def arguments(draw: st.DrawFn) -> tuple[int, dict, tuple[int, ...]]:
    """Draw the number of axes, the arguments of the pooling, and the shape of the source."""
    axes = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(axes)]
    tiles = draw(st.booleans())
    options = {
        "kernel_size": kernel,
        "stride": kernel if tiles else [draw(st.integers(1, 3)) for _ in kernel],
        "padding": [0 if tiles else draw(st.integers(0, k // 2)) for k in kernel],
        "dilation": [1 if tiles else draw(st.integers(1, 2)) for _ in kernel],
    }
    sizes = [draw(st.integers(3 if tiles else 5, 7)) for _ in kernel]
    return axes, options, (draw(st.integers(1, 2)), *sizes)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(arguments(), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.25, 0.05]))
def test_the_selected_elements(drawn: tuple[int, dict, tuple[int, ...]], seed: int, decay: float) -> None:
    """The selected elements equal torch's, also if rates are equal. A graded source makes each element distinct."""
    axes, options, source = drawn
    cls, with_indices = POOLS[axes]
    made, generator = cls(**options, decay=decay), torch.Generator().manual_seed(seed)

    def selected(rates: Tensor, z: Tensor) -> Tensor:
        pooled, winners = with_indices(rates, *(options[name] for name in ("kernel_size", "stride", "padding", "dilation")))
        return z.flatten(2).gather(2, winners.flatten(2)).reshape(pooled.shape)

    made.attach("a", source, "b", tuple(selected(torch.zeros(1, *source), torch.zeros(1, *source)).shape[1:]))
    rates = torch.randint(-2, 3, (3, *source), generator=generator) / 4
    z = torch.randn(3, *source, generator=generator)
    for now in ((z < 0).float(), z):
        after: dict[str, Tensor] = {}
        drive = made(now, {}, {"a_to_b.rates": rates}, after)
        expected = rates - made.decay * rates + now
        assert torch.equal(after["a_to_b.rates"], expected)
        assert torch.equal(drive, selected(expected, now))


FORMS = [(MaxPool2d(2, decay=0.25), (2, 2, 2)), (MaxPool2d(3, 2, 1, decay=0.25), (2, 3, 2))]


def network_with(connection: Connection, target: tuple[int, ...]) -> Network:
    network = Network()
    network.add_layer(Input(shape=(2, 5, 4)), "a")
    network.add_layer(IFNodes(shape=target, thresh=-64.5, refrac=0), "b")
    network.add_connection(copy.deepcopy(connection), "a", "b")
    return network


@pytest.mark.parametrize(("connection", "target"), FORMS, ids=["tiles", "overlaps"])
def test_the_operators(connection: Connection, target: tuple[int, ...]) -> None:
    """The graph has no MaxPool, whose indices several runtimes compute wrongly, and no parameter that old bundles lack."""
    network = network_with(connection, target)
    operators = {node.op_type for node in Onnx().step_graph(Lowered(network)).graph.node}
    assert {"ArgMax", "GatherElements"} <= operators
    assert not {"MaxPool", "Shape", "Loop", "If"} & operators
    assert [name for name in network.state_dict() if name.startswith("connections.0.")] == ["connections.0.decay"]


def test_overlapping_fields_in_every_format(tmp_path: Path) -> None:
    """Overlapping fields run in every format. The indices of their elements are constants of the graphs, not parameters."""
    connection, target = FORMS[1]
    bundle = export(network_with(connection, target), tmp_path / "pooling")
    assert set(bundle.parameters()) == set(network_with(connection, target).state_dict())
    report = verify(bundle, steps=20, batch=3, tolerance=Tolerance(atol=0, rtol=0))
    assert {run.runtime for run in report.runs} >= {"torchscript", "pt2", "onnxruntime-cpu", "onnx-reference"}
    assert report.equal
    assert report.spikes


def test_field_in_the_padding_is_an_error() -> None:
    """A field that lies in the padding is rejected: torch's max pooling would return an index outside the source."""
    with pytest.raises(InvalidInput, match="a field lies in the padding"):
        MaxPool1d(2, 1, 1, 2).attach("a", (1, 1), "b", (1, 1))
