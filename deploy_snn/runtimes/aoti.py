"""AOTInductor: runs a step that was compiled ahead of time."""

import platform
import zipfile
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.runtimes.torch_runtime import Function, TorchRuntime
from deploy_snn.torch_internals import load_aoti_package

CPU_FILE = "deploy_snn.cpu"
"""The name of the file inside the archive that says which CPU the compiled step needs."""

X86 = "x86-64-v3"


class AotInductor(TorchRuntime):
    """A loaded package. A run repeats the step, because AOTInductor cannot compile a Scan with a dynamic batch."""

    files: ClassVar[tuple[str, ...]] = ("step.aoti.pt2",)

    @cached_property
    def step_function(self) -> Function:
        package = self._load()
        inputs, states = ([spec.name for spec in specs] for specs in (self.contract.inputs, self.contract.states))

        def step(tensors: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            # Compiled code identifies tensors by position and ignores their names.
            outputs, after = package({name: tensors[name] for name in inputs}, {name: state[name] for name in states})
            return outputs, after

        return step

    @cached_property
    def run_function(self) -> Function:
        def run(inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            series = []
            for step in range(len(next(iter(inputs.values())))):
                outputs, state = self.step_function({name: values[step] for name, values in inputs.items()}, state)
                series.append(outputs)
            return {name: torch.stack([outputs[name] for outputs in series]) for name in series[0]}, state

        return run

    def _load(self) -> Any:
        path = self.bundle.file(self.files[0])
        try:
            with zipfile.ZipFile(path) as archive:
                texts = {
                    name.rpartition("extra/")[2]: archive.read(name).decode()
                    for name in archive.namelist()
                    if "/extra/" in name
                }
                contract, cpu = texts[CONTRACT_FILE], texts[CPU_FILE]
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise InvalidInput(f"{path} is not a compiled step of deploy_snn: {error}") from None
        self.bundle.check_contract(Contract.parse(contract, str(path)), path.name)
        if not runs_here(cpu):
            raise Unavailable(
                f"{path} was compiled for {cpu}, which this CPU does not support: export the model here, with format aoti"
            )
        try:
            return load_aoti_package(path)
        except RuntimeError as error:
            raise InvalidInput(f"{path} cannot be loaded: {first_line(error)}") from None


def runs_here(cpu: str) -> bool:
    """Whether code for this kind of CPU runs on this machine."""
    if cpu == X86:
        return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return cpu == platform.machine()
