"""Contenders that compute one model: the check that they give the same spikes, and their times in alternating rounds."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deploy_snn.tensors import Array, Arrays

TOLERANCE = 0.02
"""How much the number of spikes of a contender with other rounding may differ."""
TURN_SECONDS = 0.01
"""A turn of a contender lasts so long at least."""
FEWEST, LIMIT_SECONDS = 3, 15.0
"""A case ends after so many seconds, but not before so many rounds."""


class Skipped(Exception):
    """A peer that cannot take part. The message is the reason."""


@dataclass(frozen=True)
class Contender:
    """What is timed: ``steps`` steps from the initial state, which gave ``spikes`` ``[steps, batch, ...]``.

    ``seconds`` runs them once and returns how long that took. The spikes of a peer need not be ``exact``.
    """

    steps: int
    seconds: Callable[[], float]
    spikes: Arrays
    exact: bool = True
    note: str = ""
    """What to say of the spikes of a contender that has none to compare."""


Begin = Callable[[], Contender]


@dataclass(frozen=True)
class Case:
    """One model with one input. ``contenders`` are by name, the first one is the reference of the spikes."""

    title: str
    contenders: Mapping[str, Begin]
    step_bytes: float = 0.0
    working_set: int = 0
    rows: int = 1
    """A step counts as so many: the batch."""


@dataclass
class Result:
    """The median time of a step, in microseconds, of each contender that took part."""

    case: Case
    micros: dict[str, float] = field(default_factory=dict)
    spikes: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    rounds: int = 0


def timed(run: Callable[[], Arrays], steps: int, *, exact: bool = True) -> Contender:
    """A contender that is a function. Its first call is not timed and gives the spikes. A short one is repeated."""

    def seconds() -> float:
        begin = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - begin) / repeats

    spikes = {name: np.array(array) for name, array in run().items() if array.dtype == np.bool_}
    repeats = 1
    repeats = max(1, math.ceil(TURN_SECONDS / max(seconds(), 1e-7)))
    return Contender(steps, seconds, spikes, exact)


def measure(case: Case, rounds: int) -> Result:
    """Check the spikes of all contenders, and time them in alternating rounds.

    A peer that fails is skipped, with the reason. Raises SystemExit if one of our own contenders gives other spikes.
    """
    result = Result(case)
    taking_part: dict[str, Contender] = {}
    for name, begin in case.contenders.items():
        try:
            contender = begin()
            result.spikes[name] = agreement(next(iter(taking_part.values()), contender).spikes, contender)
        except Exception as error:  # noqa: BLE001 - a peer may fail in any way, and the others shall still be measured
            reason = str(error) if isinstance(error, Skipped) else f"{type(error).__name__}: {error}"
            result.skipped[name] = reason.partition("\n")[0][:120]
        else:
            taking_part[name] = contender
    result.rounds, result.micros = _alternate(taking_part, rounds, case.rows)
    return result


def agreement(expected: Arrays, contender: Contender) -> str:
    """How the spikes agree with those of the reference, in words.

    Raises Skipped if they do not, and SystemExit if they differ at all from those of an exact contender.
    """
    if not contender.spikes:
        return contender.note
    wanted = {name: _beginning(expected[name], array) for name, array in contender.spikes.items()}
    differ = sum(int((array != wanted[name]).sum()) for name, array in contender.spikes.items())
    total = sum(int(array.sum()) for array in wanted.values())
    if not differ:
        return f"all {total:,} the same"
    words = (
        f"{sum(int(array.sum()) for array in contender.spikes.values()):,} of {total:,} spikes, {differ:,} elements differ"
    )
    apart = {name: abs(int(array.sum()) - int(wanted[name].sum())) for name, array in contender.spikes.items()}
    if contender.exact:
        raise SystemExit(f"a contender that should be exact computes other spikes: {words}")
    if any(apart[name] > TOLERANCE * wanted[name].sum() for name in apart):
        raise Skipped(f"it computes other spikes: {words}")
    return words


def _beginning(whole: Array, part: Array) -> Array:
    return whole[: len(part)].reshape(part.shape)


def _alternate(contenders: Mapping[str, Contender], rounds: int, rows: int) -> tuple[int, dict[str, float]]:
    times: dict[str, list[float]] = {name: [] for name in contenders}
    done, begin = 0, time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        while done < rounds and (done < FEWEST or time.perf_counter() - begin < LIMIT_SECONDS):
            for name, contender in contenders.items():
                times[name].append(contender.seconds() / (contender.steps * rows) * 1e6)
            done += 1
    finally:
        gc.enable()
    return done, {name: statistics.median(values) for name, values in times.items()}


def events(spikes: Array) -> tuple[Array, Array]:
    """The steps and the indices of the spikes of one row, ``[steps, 1, neurons]``, in order of time."""
    step, _, index = np.nonzero(spikes)
    return step, index


def dense(step: Array, index: Array, shape: Sequence[int]) -> Array:
    """Spikes ``[steps, 1, neurons]`` of one row from their steps and indices."""
    spikes = np.zeros((shape[0], 1, shape[1]), np.bool_)
    spikes[step, 0, index] = True
    return spikes
