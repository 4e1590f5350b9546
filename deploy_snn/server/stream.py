"""A stream: one client's run of a model, whose state is kept between requests and shared with no other client."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import monotonic
from typing import Any, cast

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from deploy_snn.contract import Contract, Role, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.server.names import SequenceId
from deploy_snn.tensors import Array, Arrays, check_finite, notes_on, pack_tensors, unpack_tensors

MAX_STEPS = 2**53
"""The most steps that a stream can take: the largest number that every JSON parser reads exactly."""


class _AnySeed(ISeedSequence):
    """Seeds a generator whose state is overwritten at once: a SeedSequence would take longer than all the rest."""

    words = np.zeros(8, np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> Array:
        return self.words[:n_words]


ANY_SEED = cast("np.random.SeedSequence", _AnySeed())


@dataclass(frozen=True)
class Stream:
    """The state of a stream after ``steps`` steps. ``generator`` draws the noise that its requests omit.

    It is immutable: a step creates a new Stream, so that a failed step changes nothing.
    """

    batch: int
    state: Arrays
    generator: np.random.Generator
    steps: int = 0
    last_used: float = field(default_factory=monotonic)
    token: str = ""
    """The fencing token under which this server may store what follows from it, if servers share a store."""

    @cached_property
    def nbytes(self) -> int:
        """The memory of its state."""
        return sum(array.nbytes for array in self.state.values())

    def held_under(self, token: str) -> "Stream":
        """The same stream, after a claim with a new fencing token."""
        return replace(self, token=token)


def new_stream(state: Arrays, batch: int, sequence: SequenceId | None, seed: int | None) -> Stream:
    """Create a stream before its first step. Without a ``seed``, the name is the seed, so that a run can be repeated."""
    if seed is None:
        seed = int.from_bytes(hashlib.sha256(repr(sequence).encode()).digest()[:8])
    return Stream(batch, state, np.random.Generator(np.random.PCG64(seed)))


def copy_generator(generator: np.random.Generator) -> np.random.Generator:
    """Copy a generator with its state, many times as fast as ``copy.deepcopy``."""
    bits: np.random.BitGenerator = np.random.PCG64(ANY_SEED)
    bits.state = generator.bit_generator.state
    return np.random.Generator(bits)


def pack_stream(stream: Stream) -> bytes:
    """Serialise a stream as a tensor file: its state, which every host can read, and metadata for its steps and noise."""
    generator = json.dumps(stream.generator.bit_generator.state)
    return pack_tensors(stream.state, {"batch": str(stream.batch), "steps": str(stream.steps), "generator": generator})


def unpack_stream(packed: bytes, contract: Contract, sequence: SequenceId, where: str) -> Stream:
    """Restore a stream from what ``pack_stream`` wrote, or from a state that another host wrote, which has no metadata.

    ``where`` names the data's origin in messages. Raises InvalidInput for anything else.
    """
    state = unpack_tensors(packed, where)
    sizes = check_tensors(contract.states, state, "state")
    check_finite(state, "state")
    try:
        metadata = notes_on(packed)
        batch = sizes.get("batch", max(1, int(metadata.get("batch", 1))))
        stream = new_stream(state, batch, sequence, None)
        if "generator" in metadata:
            stream.generator.bit_generator.state = json.loads(metadata["generator"])
        steps = int(metadata.get("steps", 0))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InvalidInput(f"{where} is not a valid stream state: {error}") from None
    if not 0 <= steps <= MAX_STEPS:
        raise InvalidInput(f"{where} is not a valid stream state: impossible number of steps {metadata['steps'][:20]}")
    return replace(stream, steps=steps)


def draw_noise(generator: np.random.Generator, contract: Contract, inputs: Arrays, batch: int, steps: int) -> Arrays:
    """Draw the noise inputs that a request omits, ``[T, batch, ...]``: the same for one chunk and for its single steps."""
    missing = [spec for spec in contract.inputs if spec.role is Role.NOISE and spec.name not in inputs]
    if len(missing) == 1:  # the generator gives the same numbers in one piece
        return {missing[0].name: generator.random((steps, *missing[0].shape(batch=batch)), np.float32)}
    drawn: dict[str, list[Array]] = {spec.name: [] for spec in missing}
    for _ in range(steps):
        for spec in missing:
            drawn[spec.name].append(generator.random(spec.shape(batch=batch), np.float32))
    return {name: np.stack(arrays) for name, arrays in drawn.items()}


def add_noise(inputs: Arrays, generator: np.random.Generator, contract: Contract, batch: int, steps: int | None) -> Arrays:
    """The inputs of a request with the noise that it omits. ``steps`` is None for a step without a time axis."""
    noise = draw_noise(generator, contract, inputs, batch, steps or 1)
    return inputs | {name: array if steps else array[0] for name, array in noise.items()}
