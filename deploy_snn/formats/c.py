"""C99 without dependencies: a step as fused loops, for programs, microcontrollers and WebAssembly."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.c_compiler import compile_for
from deploy_snn.compiled import c_source
from deploy_snn.cpus import find_cpu, library_name
from deploy_snn.errors import InvalidInput
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered

HEADER = "model.h"
SOURCE = "model.c"
WEIGHTS = "model.weights"


@dataclass(frozen=True)
class C(Format):
    """C source of a step and of a run. Parameters of more than 1 MiB are in ``model.weights``.

    Args:
        check_steps: the number of steps of the golden trace to compile in as a self-check, ``NAME_check``; 0 for none.
        libraries: the kinds of CPU to add a shared library for, such as ``x86-64-v3``: ``model.CPU.so``. Hosts and the
            runtime ``c`` then need no compiler there.
        flash, ram: the bytes that a device has for the parameters, and for the state of one row; 0 for no limit. The code
            and the contract come on top: a few kilobytes.

    Raises InvalidInput for a negative number, an unknown CPU, and a model that does not fit.
    """

    check_steps: int = 0
    libraries: tuple[str, ...] = ()
    flash: int = 0
    ram: int = 0

    files: ClassVar[dict[str, str]] = {HEADER: "C header of the model", SOURCE: "C99 source of the model"}

    def __post_init__(self) -> None:
        for name in ("check_steps", "flash", "ram"):
            if getattr(self, name) < 0:
                raise InvalidInput(f"{name}={getattr(self, name)}: expected at least 0")
        for cpu in self.libraries:
            find_cpu(cpu)

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        compiled = c_source(lowered, header_name=HEADER, check_steps=self.check_steps)
        for limit, needed, what in (
            (self.flash, compiled.constant_bytes, "flash for its parameters"),
            (self.ram, compiled.state_bytes, "RAM for its state and scratch memory"),
        ):
            if limit and needed > limit:
                raise InvalidInput(f"{lowered.name} needs {needed} bytes of {what}; the limit is {limit}")
        (folder / HEADER).write_text(compiled.header)
        (folder / SOURCE).write_text(compiled.source)
        if compiled.weights:
            (folder / WEIGHTS).write_bytes(compiled.weights)
        for cpu in self.libraries:
            compile_for(cpu, {HEADER: compiled.header, SOURCE: compiled.source}, folder / library_name(cpu))
        return {
            "prefix": compiled.prefix,
            "weights": WEIGHTS if compiled.weights else "",
            "scratch_bytes": compiled.work_bytes,
            "parameters": compiled.parameters,
        }
