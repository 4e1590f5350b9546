"""The kinds of CPU that a bundle can carry a compiled library for, all with Linux and glibc."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy_snn.registry import unknown


@dataclass(frozen=True)
class Cpu:
    """A kind of CPU: its machine as ``uname -m`` names it, how zig and gcc name it, and the instructions that it needs.

    ``flags`` are names as in the flags of /proc/cpuinfo.
    """

    machine: str
    zig: tuple[str, ...]
    gcc: tuple[str, ...]
    flags: frozenset[str] = frozenset()


CPUS = {
    "x86-64-v3": Cpu(
        "x86_64",
        ("-target", "x86_64-linux-gnu.2.27", "-mcpu=x86_64_v3"),
        ("-march=x86-64-v3",),
        frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    ),
    "x86-64": Cpu("x86_64", ("-target", "x86_64-linux-gnu.2.27", "-mcpu=x86_64"), ("-march=x86-64",)),
    "aarch64": Cpu("aarch64", ("-target", "aarch64-linux-gnu.2.27"), ("-march=armv8-a",)),
}
"""The kinds of CPU by name. Where several run a machine's code, the first is the fastest."""


def find_cpu(name: str) -> Cpu:
    """A kind of CPU by name. Raises InvalidInput, with the names to choose from."""
    if name not in CPUS:
        raise unknown("CPU", name, CPUS)
    return CPUS[name]


def library_name(cpu: str) -> str:
    """The file of a bundle with the library for a kind of CPU."""
    return f"model.{cpu}.so"


@cache
def cpus_here() -> tuple[str, ...]:
    """The kinds of CPU whose libraries run on this machine, the fastest first."""
    return tuple(name for name, cpu in CPUS.items() if _runs(cpu))


def _runs(cpu: Cpu) -> bool:
    if platform.system() != "Linux" or platform.machine() != cpu.machine or platform.libc_ver()[0] != "glibc":
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return cpu.flags <= set(flags)
