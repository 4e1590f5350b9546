"""Mutants of the C of a bundle: each is wrong in one place. They are built and run like the C itself."""

import ctypes
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import FLAGS, LIBRARY, NO_COMPILER, compile_in, find_compiler
from deploy_snn.compiled.elements import number
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.parity.comparison import Plan, References
from deploy_snn.parity.lockstep import Lockstep, Progress
from deploy_snn.parity.report import Mode
from deploy_snn.parity.self_test import MutantResult, SelfTest
from deploy_snn.reference import reference_program
from deploy_snn.runtimes.c import CompiledC

SOURCE = "model.c"
MODES: tuple[Mode, ...] = ("locked", "free", "sequence")
SECONDS = 60
"""The time that a mutant has to run. One that takes longer does not end."""

OPERATORS = {
    " + ": " - ",
    " - ": " + ",
    " * ": " + ",
    " / ": " * ",
    " += ": " -= ",
    " > ": " >= ",
    " >= ": " > ",
    " < ": " <= ",
    " <= ": " < ",
    " != ": " == ",
    " && ": " || ",
}
"""The operators that replace another one, outside of indices and of the headers of loops."""

SCALAR = re.compile(r"static const float (\w+) = (-?[0-9.e+-]+)f;")
ARRAY = re.compile(r"static const (?:float|int8_t|int16_t) (\w+)\[\d+\] = \{")
STORE = re.compile(r" *[\w>.-]+\[[^;]*\] (?:[+]?=) [^;]*;")


@dataclass(frozen=True)
class CMutant:
    """One wrong source. ``kind`` is what was changed: operator, condition, store, constant or weight."""

    kind: str
    what: str
    source: str


def c_mutants(source: str) -> Iterator[CMutant]:
    """Every mutant of the equations, the scalar constants and the first weights of a generated source."""
    begin, end = _equations(source)
    offset = begin
    for place, line in enumerate(source[begin:end].splitlines(keepends=True)):
        for kind, changed in _changes(line):
            what = f"line {place}: {' '.join(changed.split())}"
            yield CMutant(kind, what, source[:offset] + changed + source[offset + len(line) :])
        offset += len(line)
    for found in SCALAR.finditer(source):
        value = np.float32(found[2])
        for what, other in (("+ 1 ulp", np.nextafter(value, np.float32(np.inf))), ("+ 1 %", value + abs(value) / 100)):
            text = number(np.float32(other).item())
            if np.float32(other) != value:
                yield CMutant(
                    "constant", f"{found[1]} {what}", source[: found.start(2)] + text + source[found.end(2) + 1 :]
                )
    for found in ARRAY.finditer(source):
        first = re.compile(r"-?[0-9][0-9.e+-]*f?").search(source, found.end())
        assert first is not None
        changed = f"(1 + {first[0]})"
        yield CMutant("weight", f"{found[1]}[0] + 1", source[: first.start()] + changed + source[first.end() :])


def _equations(source: str) -> tuple[int, int]:
    """The place of the function of one row."""
    found = re.search(r"^static void \w+_row\($|^static void \w+_row\(.*\)$", source, re.MULTILINE)
    if found is None:
        raise InvalidInput(f"{SOURCE} has no function of one row: deploy-snn did not write it")
    begin = source.index("\n{\n", found.start()) + 3
    return begin, source.index("\n}\n", begin) + 1


def _changes(line: str) -> Iterator[tuple[str, str]]:
    stripped = line.strip()
    if stripped.startswith(("for (", "/*", "(void)", "memset", "}")) or not stripped:
        return
    inside = _in_brackets(line)
    for operator, other in OPERATORS.items():
        for found in re.finditer(re.escape(operator), line):
            if not inside[found.start()]:
                yield "operator", line[: found.start()] + other + line[found.end() :]
    for found in re.finditer(r"(\w+) \? ", line):
        if not inside[found.start()] and not found[1][0].isdigit():
            yield "condition", line[: found.start()] + "!" + line[found.start() :]
    if STORE.fullmatch(line.rstrip("\n")):
        yield "store", f"{' ' * (len(line) - len(line.lstrip()))};\n"


def _in_brackets(line: str) -> list[bool]:
    depth, inside = 0, []
    for character in line:
        depth += (character == "[") - (character == "]")
        inside.append(depth > 0)
    return inside


def c_self_test(bundle: Bundle, plan: Plan, progress: Progress = lambda _: None, every: int = 1) -> SelfTest:
    """Run mutants of ``model.c`` against eager torch, each in a process of its own, which it may bring down.

    ``every`` runs only every so many of them. Raises InvalidInput for a bundle without the file, and Unavailable without a
    C compiler.
    """
    program = reference_program(bundle, plan.definition)
    references = [(r.report.stimulus, r.lockstep) for r in References(plan, program).each(None)]
    for _, lockstep in references:
        lockstep.fail_fast = True
    results = []
    for mutant in list(c_mutants(bundle.file(SOURCE).read_text()))[::every]:
        stimulus, mode = _detect(bundle, mutant.source, references) or (None, None)
        progress(1)
        results.append(MutantResult(file=SOURCE, kind=mutant.kind, what=mutant.what, killed_by=stimulus, mode=mode))
    return SelfTest(model=bundle.name, results=tuple(results))


def _detect(bundle: Bundle, source: str, references: Iterable[tuple[str, Lockstep]]) -> tuple[str, str] | None:
    """The first stimulus and mode that detect a mutant; ``load`` if it cannot be compiled."""
    trials = [(stimulus, lockstep, mode) for stimulus, lockstep in references for mode in MODES]
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = _build(bundle, source, Path(folder))
        except Unavailable:
            return trials[0][0], "load"
        child = os.fork()
        if not child:
            os._exit(_first_difference(bundle, library, trials))
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return trials[0][0], "crash"
    place = os.WEXITSTATUS(status)
    return trials[place - 1][::2] if place else None


def _first_difference(bundle: Bundle, library: Path, trials: list[tuple[str, Lockstep, Mode]]) -> int:
    """The number of the first trial that detects a mutant, from 1; 0 if none does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    try:
        for place, (_, lockstep, mode) in enumerate(trials):
            if not lockstep.run("mutant", Mutated(bundle, library), mode).equal:
                return place + 1
    except Exception:  # noqa: BLE001  (a wrong result may break the comparison itself)
        return place + 1
    return 0


def _build(bundle: Bundle, source: str, folder: Path) -> Path:
    compiler = find_compiler()
    if compiler is None:
        raise Unavailable(NO_COMPILER)
    shutil.copy(bundle.file("model.h"), folder / "model.h")
    (folder / SOURCE).write_text(source)
    compile_in(folder, [*compiler.command, *FLAGS, "-O1", *LIBRARY, SOURCE, "-o", "mutant.so", "-lm"])
    return folder / "mutant.so"


class Mutated(CompiledC):
    """Compiled C with another library."""

    def __init__(self, bundle: Bundle, library: Path) -> None:
        self._mutant = library
        super().__init__(bundle)

    def _load(self) -> tuple[ctypes.CDLL, str]:
        return ctypes.CDLL(str(self._mutant)), SOURCE
