"""Streams of a network that learns: each has weights of its own."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.server.limits import Limits
from deploy_snn.server.model import Model
from deploy_snn.server.names import SequenceId
from deploy_snn.server.protocol import InferRequest

ROOT = Path(__file__).parent.parent.parent
WEIGHTS = "X_to_exc.w"


@pytest.fixture(scope="module")
def plastic(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    options = {"n": 6, "n_input": 20, "plastic": True}
    path = tmp_path_factory.mktemp("plastic") / "b"
    return export_model(str(ROOT / "models" / "diehl_cook_2015.py"), options, path, formats=["onnx", "c"], golden_steps=0)


@pytest.mark.parametrize("runtime", ["onnxruntime-cpu", "c"])
def test_each_stream_has_its_own_weights(runtime: str, plastic: Bundle) -> None:
    """Two streams that take turns learn what each would learn alone."""
    rng = np.random.default_rng(2)
    given = {
        name: {
            "X.x": (rng.random((40, 1, 20)) < 0.4).astype(np.float32),
            "exc.noise": rng.random((40, 1, 6), np.float32),
        }
        for name in ("a", "b")
    }

    def request(name: SequenceId, step: int) -> InferRequest:
        inputs = {key: values[step] for key, values in given[str(name)].items()}
        return InferRequest("", inputs, {}, False, name, step == 0, False, None)

    async def serve() -> dict[str, dict[str, np.ndarray]]:
        model = Model(plastic, runtime, Limits(max_wait=0.0))
        model.open()
        for step in range(40):
            await asyncio.gather(*(model.infer(request(name, step)) for name in given))
        states = {str(name): dict(stream.state) for name, stream in model.streams.items()}
        await asyncio.wait_for(model.close(), 10)
        return states

    states = asyncio.run(serve())
    assert np.abs(states["a"][WEIGHTS] - states["b"][WEIGHTS]).max() > 0.01
    for name, inputs in given.items():
        alone = plastic.session(runtime)
        alone.run(inputs)
        for tensor, value in alone.state.items():
            np.testing.assert_array_equal(states[name][tensor], value, f"{name}: {tensor}")
