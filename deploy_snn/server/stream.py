"""A stream: one client's run through a model, whose state is kept between requests and belongs to nobody else."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import monotonic

import numpy as np

from deploy_snn.contract import Contract, Role, check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.server.protocol import Sequence
from deploy_snn.tensors import Array, Arrays, check_finite, notes_on, pack_tensors, unpack_tensors

ANY_SEED = np.random.SeedSequence(0)
"""For a generator that gets another state at once."""


@dataclass(frozen=True)
class Stream:
    """Where a stream stands. ``generator`` draws the noise that its requests leave out.

    A step makes another one: until its results are kept, the stream is where it was.
    """

    batch: int
    state: Arrays
    generator: np.random.Generator
    steps: int = 0
    used: float = field(default_factory=monotonic)

    @cached_property
    def bytes(self) -> int:
        """What its state takes in memory."""
        return sum(array.nbytes for array in self.state.values())


def new_stream(state: Arrays, batch: int, sequence: Sequence | None, seed: int | None) -> Stream:
    """A stream at its beginning. Unless it is given, the seed follows from the name, so that a stream can be repeated."""
    if seed is None:
        seed = int.from_bytes(hashlib.sha256(repr(sequence).encode()).digest()[:8])
    return Stream(batch, state, np.random.Generator(np.random.PCG64(seed)))


def copy_generator(generator: np.random.Generator) -> np.random.Generator:
    """A generator that draws the same from here on; ``copy.deepcopy`` takes four times as long."""
    bits: np.random.BitGenerator = np.random.PCG64(ANY_SEED)
    bits.state = generator.bit_generator.state
    return np.random.Generator(bits)


def pack_stream(stream: Stream) -> bytes:
    """A stream as a tensor file: its state, as every host reads it, and notes on where its steps and its noise stand."""
    generator = json.dumps(stream.generator.bit_generator.state)
    return pack_tensors(stream.state, {"batch": str(stream.batch), "steps": str(stream.steps), "generator": generator})


def unpack_stream(packed: bytes, contract: Contract, sequence: Sequence, where: str) -> Stream:
    """A stream that goes on from a tensor file: from what ``pack_stream`` packed, or from any state of the contract's.

    Raises InvalidInput, naming ``where`` it stood, for anything else.
    """
    state = unpack_tensors(packed, where)
    sizes = check_tensors(contract.states, state, "state")
    check_finite(state, "state")
    try:
        notes = notes_on(packed)
        batch = sizes.get("batch", max(1, int(notes.get("batch", 1))))
        stream = new_stream(state, batch, sequence, None)
        if "generator" in notes:
            stream.generator.bit_generator.state = json.loads(notes["generator"])
        steps = int(notes.get("steps", 0))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise InvalidInput(f"{where} holds no stream: {error}") from None
    if not 0 <= steps < 2**63:
        raise InvalidInput(f"{where} holds no stream: it cannot have taken {notes['steps'][:20]} steps")
    return replace(stream, steps=steps)


def draw_noise(generator: np.random.Generator, contract: Contract, inputs: Arrays, batch: int, steps: int) -> Arrays:
    """The noise that a request of ``steps`` steps leaves out, ``[T, batch, ...]``: the same however a run is cut."""
    missing = [spec for spec in contract.inputs if spec.role is Role.NOISE and spec.name not in inputs]
    drawn: dict[str, list[Array]] = {spec.name: [] for spec in missing}
    for _ in range(steps):
        for spec in missing:
            drawn[spec.name].append(generator.random(spec.shape(batch=batch), np.float32))
    return {name: np.stack(arrays) for name, arrays in drawn.items()}
