"""AOTInductor: one step compiled ahead of time to machine code, for hosts that cannot wait for an interpreter.

The code is tied to a kind of CPU and to the torch that built it; the other formats are tied to neither.
"""

import platform
import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from deploy_snn.contract import CONTRACT_FILE
from deploy_snn.errors import Unavailable
from deploy_snn.formats.pt2 import capture, tree_specs_on_purpose
from deploy_snn.formats.torchscript import torchscript_on_purpose
from deploy_snn.program import Program

CPU_FILE = "deploy_snn.cpu"
"""The name under which the CPU that a compiled step needs travels inside its archive."""

X86 = "x86-64-v3"
"""The psABI level that is compiled for: AVX2 and FMA, which servers have had since 2013, and no more than that."""

MODEL = "model"


class InOrder(nn.Module):
    """A step whose results come in the contract's order: compiled code knows places and no names."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.outputs = [spec.name for spec in program.contract.outputs]
        self.states = [spec.name for spec in program.contract.states]

    def forward(self, inputs: dict[str, Tensor], state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        outputs, after = self.program(inputs, state)
        return {name: outputs[name] for name in self.outputs}, {name: after[name] for name in self.states}


def target_cpu() -> str:
    """The kind of CPU that a step is compiled for on this machine."""
    machine = platform.machine()
    return X86 if machine in ("x86_64", "AMD64") else machine


def write_compiled_step(program: Program, path: Path) -> None:
    """Write ``step.aoti.pt2``. The contract travels inside, and the kind of CPU that the code is for.

    Raises Unavailable where there is no C++ compiler.
    """
    # The compiler takes a second to import, which nobody else should wait for. On the way it uses TorchScript.
    with torchscript_on_purpose():
        from torch._inductor import aot_compile  # noqa: PLC0415
        from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415
        from torch._inductor.exc import InductorError, InvalidCxxCompiler  # noqa: PLC0415
        from torch.export.pt2_archive._package import package_pt2  # noqa: PLC0415

    contract = program.contract
    captured = capture(InOrder(program), contract.inputs, contract.states)
    options: dict[str, Any] = {
        "aot_inductor.package": True,
        "aot_inductor.enable_line_tables": False,
    }
    if target_cpu() == X86:
        options |= {"cpp.march": X86, "cpp.simdlen": 256}
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise Unavailable("format aoti needs a C++ compiler, and there is none: install g++, or set CXX") from None
    with tempfile.TemporaryDirectory() as folder, torchscript_on_purpose(), tree_specs_on_purpose():
        options["aot_inductor.output_path"] = folder
        try:
            made: Any = aot_compile(captured.module(check_guards=False), *captured.example_inputs, options=options)
        except InductorError as error:
            raise Unavailable(f"format aoti could not be compiled: {str(error).strip().partition(chr(10))[0]}") from None
        # The sources that it packs too name the paths of this machine, and no loader needs them.
        files: list[Any] = [file for file in made if not str(file).endswith(".cpp")]
        extra = {CONTRACT_FILE: contract.model_dump_json(), CPU_FILE: target_cpu()}
        package_pt2(path, aoti_files={MODEL: files}, extra_files=extra)
