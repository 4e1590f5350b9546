"""AOTInductor: one step compiled ahead of time to machine code.

The code runs only on one kind of CPU and with the torch version that compiled it. The other formats run everywhere.
"""

import platform
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.contract import CONTRACT_FILE
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered
from deploy_snn.torch_internals import aot_compile

STEP = "step.aoti.pt2"

CPU_FILE = "deploy_snn.cpu"
"""The name of the file inside the archive that says which CPU the compiled step needs."""

X86 = "x86-64-v3"
"""The x86-64 psABI level to compile for. It has AVX2 and FMA, which servers have had since 2013, and nothing newer."""


class Aoti(Format):
    """A step compiled by AOTInductor, for this machine's kind of CPU. Options: none."""

    files: ClassVar[dict[str, str]] = {STEP: "one step compiled ahead of time for this kind of CPU"}

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        cpu = target_cpu()
        options: dict[str, Any] = {"cpp.march": X86, "cpp.simdlen": 256} if cpu == X86 else {}
        extra = {CONTRACT_FILE: lowered.contract.model_dump_json(), CPU_FILE: cpu}
        with tempfile.TemporaryDirectory() as build:
            aot_compile(lowered.step, folder / STEP, model="model", folder=build, options=options, files=extra)
        return {"cpu": cpu}


def target_cpu() -> str:
    """The kind of CPU that this machine compiles a step for."""
    machine = platform.machine()
    return X86 if machine in ("x86_64", "AMD64") else machine
