"""Learning in the ONNX sequence: only the columns of targets that spiked are computed, with the same weights."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from deploy_snn import export
from deploy_snn.bundle import Bundle
from deploy_snn.formats.spiking_columns import SMALLEST
from deploy_snn.learning import PostPre, Rule
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.tensors import Arrays

STEPS, N, M = 40, 512, 128


def network(rule: Rule, m: int = M) -> Network:
    torch.manual_seed(3)
    plastic = Network()
    plastic.add_layer(Input(N, traces=True), "X")
    plastic.add_layer(LIFNodes(shape=(2, m // 2), traces=True), "Y")
    plastic.add_connection(Dense(torch.rand(N, m), rule=rule), "X", "Y")
    return plastic


def operators(bundle: Bundle, name: str) -> Counter[str]:
    def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                yield from nodes(attribute.g)

    return Counter(node.op_type for node in nodes(onnx.load(bundle.path / name).graph))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    rule = PostPre(nu=(0.002, -0.01), wmin=-1.0, wmax=1.0)  # a negative rate for the columns
    return export(network(rule), tmp_path_factory.mktemp("columns") / "b", formats=["onnx"], golden_steps=0)


def after_a_run(bundle: Bundle, runtime: str, batch: int) -> tuple[Arrays, Arrays]:
    rng = np.random.default_rng(7)
    inputs = {
        spec.name: (rng.random((STEPS, *spec.shape(batch=batch))) < 0.05).astype(np.float32)
        for spec in bundle.contract.inputs
    }
    session = bundle.session(runtime, batch=batch)
    return session.run(inputs), session.state


@pytest.mark.parametrize("runtime", ["onnxruntime-cpu", "onnx-reference"])
def test_equal_to_eager(bundle: Bundle, runtime: str) -> None:
    expected, actual = (after_a_run(bundle, name, 1) for name in ("eager", runtime))
    fired = expected[0]["Y.s"].reshape(STEPS, -1).sum(1)
    assert (fired == 0).any()
    assert ((fired > 1) & (fired < M)).any()
    assert_array_equal(actual[0]["Y.s"], expected[0]["Y.s"])
    for name in ("X_to_Y.w", "Y.trace"):
        assert_array_equal(actual[1][name], expected[1][name], name)


def test_a_batch(bundle: Bundle) -> None:
    """A column counts if its target spiked in any row."""
    expected, actual = (after_a_run(bundle, name, 3) for name in ("eager", "onnxruntime-cpu"))
    assert_allclose(actual[1]["X_to_Y.w"], expected[1]["X_to_Y.w"], rtol=1e-4, atol=1e-5)


def test_where_it_applies(bundle: Bundle, tmp_path: Path) -> None:
    """In the sequence of large weights: a step must fit into a CUDA graph, and few weights are faster as a whole."""
    assert operators(bundle, "sequence.onnx")["ScatterElements"] == 1
    assert operators(bundle, "step.onnx")["ScatterElements"] == 0
    few = SMALLEST // N - 2
    small = export(network(PostPre(nu=0.01), few), tmp_path / "b", formats=["onnx"], golden_steps=0)
    assert operators(small, "sequence.onnx")["ScatterElements"] == 0
