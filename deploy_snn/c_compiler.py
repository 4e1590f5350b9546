"""Build a shared library from C with the system's compiler or with zig, and keep it in a cache.

The cache is the folder ``deploy-snn`` in ``$XDG_CACHE_HOME`` (default ``~/.cache``). The name of a library there is a hash
of its source, of the compiler and its flags, and of the CPU, and a hash of the library itself, to find a damaged one.
Several processes may build the same library at the same time.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from deploy_snn.cpus import find_cpu
from deploy_snn.errors import Unavailable

FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
"""The flags of every target. Without contraction and -ffast-math, the results have the same bits everywhere."""
LIBRARY = ("-shared", "-fPIC")
TUNED = "-march=native"
"""Use all instructions of this CPU. As nothing is contracted or reordered, the results keep their bits."""

NO_COMPILER = (
    "no C compiler was found: install gcc or clang, set CC, "
    "or install the extra 'compile' of deploy-snn (README.md, Install)"
)


@dataclass(frozen=True)
class Compiler:
    """A C compiler: its command, and what identifies this version of it."""

    command: tuple[str, ...]
    identity: str


@cache
def find_compiler() -> Compiler | None:
    """The compiler in ``$CC``, or cc, gcc, clang, or that of the package ziglang; None if there is none."""
    given = shlex.split(os.environ.get("CC", ""))
    for command in [given] if given else [["cc"], ["gcc"], ["clang"]]:
        path = shutil.which(command[0])
        if path:
            real = Path(path).resolve()
            about = real.stat()
            return Compiler((path, *command[1:]), f"{real} {about.st_size} {about.st_mtime_ns} {command[1:]}")
    return find_zig()


def find_zig() -> Compiler | None:
    """The compiler of the package ziglang, which compiles for every target; None if the package is not installed."""
    spec = find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    return Compiler((sys.executable, "-m", "ziglang", "cc"), f"{spec.origin} {Path(spec.origin).stat().st_mtime_ns}")


def build_library(files: Mapping[str, str | bytes], *, flags: Sequence[str] = (TUNED,)) -> Path:
    """Compile C files to a shared library, or take it from the cache.

    Args:
        files: the text or the bytes of each file, by name. Those that end in ``.c`` are compiled.
        flags: flags in addition to ``FLAGS``.

    Raises Unavailable if there is no compiler, if it fails, or if the cache cannot be written.
    """
    compiler = find_compiler()
    if compiler is None:
        raise Unavailable(NO_COMPILER)
    folder, key = cache_folder(), _key(files, compiler, flags)
    try:
        for path in folder.glob(f"{key}-*.so"):
            with suppress(FileNotFoundError):  # another process has removed it
                if path.stem == f"{key}-{_digest(path)}":
                    return path
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as build:
            library = _compile(compiler, Path(build), files, flags)
            return library.replace(folder / f"{key}-{_digest(library)}.so")
    except OSError as error:
        raise Unavailable(f"the library cannot be written to {folder}: {error.strerror or error}") from None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def compile_for(cpu: str, files: Mapping[str, str], path: Path) -> None:
    """Compile C files to a shared library for a kind of CPU, with zig or, for a CPU of this kind, the system's compiler.

    Args:
        cpu: a name of :data:`deploy_snn.cpus.CPUS`.
        files: the text of each file, by name.
        path: where to write the library.

    Raises Unavailable if no compiler can build for this CPU, or if it fails.
    """
    kind, zig = find_cpu(cpu), find_zig()
    compiler = zig or (find_compiler() if platform.machine() == kind.machine else None)
    if compiler is None:
        raise Unavailable(
            f"no C compiler for {cpu} was found: install the extra 'compile' of deploy-snn (README.md, Install)"
        )
    with tempfile.TemporaryDirectory() as build:
        library = _compile(compiler, Path(build), files, [*(kind.zig if zig else kind.gcc), "-s"])
        shutil.copyfile(library, path)


def _compile(compiler: Compiler, folder: Path, files: Mapping[str, str | bytes], flags: Sequence[str]) -> Path:
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    sources = [name for name in files if name.endswith(".c")]
    compile_in(folder, [*compiler.command, *FLAGS, *LIBRARY, *flags, *sources, "-o", "library.so", "-lm"])
    return folder / "library.so"


def compile_in(folder: Path, command: Sequence[str]) -> None:
    """Run a compiler in a folder. Raises Unavailable with its first error."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        first = next((line for line in lines if "error" in line), lines[0])
        raise Unavailable(f"the C compiler {command[0]} failed with status {done.returncode}: {first.strip()}")


def cache_folder() -> Path:
    """The folder of the built libraries."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"  # a relative path is to be ignored
    return base / "deploy-snn"


def _key(files: Mapping[str, str | bytes], compiler: Compiler, flags: Sequence[str]) -> str:
    digest = hashlib.sha256()
    contents = [part for name in sorted(files) for part in (name, files[name])]
    for part in (compiler.identity, *FLAGS, *LIBRARY, *flags, cpu(), *contents):
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


@cache
def cpu() -> str:
    """This CPU and its instructions, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    kept = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part", "isa"))]
    return "\n".join([platform.machine(), platform.processor(), *kept])
