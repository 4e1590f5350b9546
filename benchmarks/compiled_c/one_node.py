"""A step at a time from Python: C, and ONNX Runtime with the compiled step as its one node."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.runtimes import find_runtime
from deploy_snn.tensors import Arrays

from .bandwidth import parameter_bytes, state_bytes, step_bytes
from .diehl_cook import SNAP, drawn_inputs, traffic
from .ours import FORMATS, MODELS, C, new_folder
from .rounds import Case, Contender, timed

ONE_NODE, NODES = "one-node ONNX", "ONNX Runtime"
STEPS, RATE, SEED = 1000, 0.05, 0


def cases() -> Iterator[Case]:
    """LIF and Diehl & Cook's network."""
    n = 100
    lif = _exported("lif", {"n": n}, None)
    drive = {"x": (np.random.default_rng(SEED).random((STEPS, 1, n)) * 3).astype(np.float32)}
    yield _case(f"a step from Python, LIF, {n}", lif, drive, (step_bytes(lif, 0), state_bytes(lif) + parameter_bytes(lif)))
    for n in (100, 400, 1600):
        bundle = _exported(str(MODELS / "diehl_cook_2015.py"), {"n": n}, SNAP)
        inputs = drawn_inputs(n, RATE, STEPS)
        yield _case(f"a step from Python, Diehl & Cook, {n}", bundle, inputs, traffic(bundle, inputs))


def _exported(model: str, options: dict[str, Any], snap: int | None) -> Bundle:
    path = new_folder(f"one_node_{len(model)}_{options['n']}")
    return export_model(model, options, path, formats=[*FORMATS, "onnx-custom"], golden_steps=0, snap=snap)


def _case(title: str, bundle: Bundle, inputs: Arrays, touched: tuple[float, int]) -> Case:
    return Case(
        title,
        {
            C: lambda: _stepped("c", bundle, inputs),
            ONE_NODE: lambda: _stepped("onnxruntime-custom", bundle, inputs),
            NODES: lambda: _stepped("onnxruntime-cpu", bundle, inputs),
        },
        *touched,
    )


def _stepped(name: str, bundle: Bundle, inputs: Arrays) -> Contender:
    """``Runtime.step`` for each step, with the spikes of each."""
    runtime, start = find_runtime(name)(bundle), bundle.initial_state(1)
    steps = [{key: array[step] for key, array in inputs.items()} for step in range(STEPS)]

    def run() -> Arrays:
        runtime.start(start)
        series = [runtime.step(now) for now in steps]
        return {key: np.stack([outputs[key] for outputs in series]) for key in series[0]}

    def timed_run() -> Arrays:
        runtime.start(start)
        for now in steps:
            runtime.step(now)
        return {}

    return Contender(STEPS, timed(timed_run, STEPS).seconds, run())
