"""A single file with one step, without a bundle: an ONNX graph or a TorchScript module, and the contract that it keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
import torch

from deploy_snn.bundle.trace import at
from deploy_snn.contract import CONTRACT_FILE, CONTRACT_KEY, Contract
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.runtimes.runtime import Runtime
from deploy_snn.tensors import Arrays
from deploy_snn.torch_internals import load_script

Step = Callable[[Arrays, Arrays], tuple[Arrays, Arrays]]


class StepFile(Runtime):
    """A step from a file; a run repeats the step.

    Args:
        path: an ``.onnx`` graph with the names of the contract (state ``v`` leaves as ``next.v``), or a TorchScript module
            ``outputs, next_state = module(inputs, state)``.
        contract: its contract; None to read it from the file's metadata.

    Raises InvalidInput for an unreadable file, and for one without a contract.
    """

    files: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, contract: Contract | None = None) -> None:
        if not path.is_file():
            raise InvalidInput(f"{path} does not exist")
        self._step, inside = _onnx_step(path) if path.suffix == ".onnx" else _script_step(path)
        if contract is None and not inside:
            raise InvalidInput(f"{path} holds no contract: pass one, from a file with the contract or a manifest")
        self.contract = contract or Contract.parse(inside, str(path))
        self._state: Arrays = {}

    def start(self, state: Arrays) -> None:
        self._state = dict(state)

    def step(self, inputs: Arrays) -> Arrays:
        outputs, self._state = self._step(inputs, self._state)
        return outputs

    def run(self, inputs: Arrays) -> Arrays:
        series = [self.step(at(inputs, step)) for step in range(len(next(iter(inputs.values()))))]
        return {name: np.stack([outputs[name] for outputs in series]) for name in series[0]}

    def state(self) -> Arrays:
        return dict(self._state)


def _onnx_step(path: Path) -> tuple[Step, str]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  (its exceptions share no base class)
        raise InvalidInput(f"ONNX Runtime cannot load {path}: {first_line(error)}") from None
    names = [output.name for output in session.get_outputs()]

    def step(inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        results = dict(zip(names, session.run(None, {**inputs, **state}), strict=True))
        after = {name.removeprefix("next."): value for name, value in results.items() if name.startswith("next.")}
        return {name: value for name, value in results.items() if not name.startswith("next.")}, after

    return step, session.get_modelmeta().custom_metadata_map.get(CONTRACT_KEY, "")


def _script_step(path: Path) -> tuple[Step, str]:
    inside = {CONTRACT_FILE: ""}
    try:
        script: Any = load_script(path, inside)
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(f"{path} is not a TorchScript file: {first_line(error)}") from None

    def step(inputs: Arrays, state: Arrays) -> tuple[Arrays, Arrays]:
        with torch.no_grad():
            outputs, after = script(to_torch(inputs), to_torch(state))
        return to_numpy(outputs), to_numpy(after)

    return step, inside[CONTRACT_FILE]
