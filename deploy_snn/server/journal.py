"""Journals of streams whose network learns: the inputs of their acknowledged requests since their weights were stored.

The weights are most of the state of such a stream. They are stored in a snapshot of the stream, every so many steps only.
A request in between is stored as its inputs, in one entry of the journal. A server that reads the stream again steps the
snapshot through the entries, in the runtime that stepped them first, which computes the same bits again. An entry has a
checksum of itself and one of the state that followed: a stream whose replay differs is refused.
"""

import json
import zlib
from collections.abc import Sequence

import numpy as np

from deploy_snn.bundle import Bundle
from deploy_snn.contract import Contract
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.runtimes import Runtime, find_runtime
from deploy_snn.server.batch import BatchEntry, step_together
from deploy_snn.server.stream import Stream, add_noise, copy_generator
from deploy_snn.tensors import Arrays, notes_on, pack_tensors, unpack_tensors

STATE = "state"
"""The note on an entry with the checksum of the state that followed."""
CHECKSUM_BYTES = 4

Entry = tuple[int, bytes]
"""The number of steps that a stream has taken after a request, and the packed entry of the request."""


class ReplayDiffers(InvalidInput):
    """The replay of a journal gives another state than was acknowledged."""


class Journal:
    """Packs the entries of one model's journals, and replays them.

    Args:
        bundle: the bundle of the model.
        runtime: the name of the runtime that steps it.
        every: the number of steps after which the weights are stored again; 1 stores them with each request.
    """

    def __init__(self, bundle: Bundle, runtime: str = "", every: int = 1) -> None:
        self._bundle = bundle
        self.contract = bundle.contract
        self.runtime, self.every = runtime, every
        self.is_kept = every > 1 and bool(self.contract.weights)
        """Whether entries are stored: not for networks without learnt weights, whose states are small."""
        self._replaying: dict[str, Runtime] = {}

    def pack_entry(self, inputs: Arrays, after: Stream) -> bytes:
        """Serialise the inputs of a request, as the client gave them, which led to the stream ``after``."""
        packed = pack_tensors(inputs, {STATE: checksum(self.contract, after)})
        return zlib.crc32(packed).to_bytes(CHECKSUM_BYTES, "little") + packed

    def replay(self, snapshot: Stream, entries: Sequence[Entry], runtime: str, where: str) -> Stream:
        """Step a stream from its snapshot through the entries that followed, in order, in the runtime that stepped it.

        ``where`` names the stream in messages. Raises InvalidInput for entries that are damaged or incomplete;
        ReplayDiffers if the replay gives another state than was acknowledged; Unavailable if the runtime cannot run here.
        """
        stream = snapshot
        for steps, packed in entries:
            stream = self._replay(self._find_runtime(runtime, where), stream, steps, packed, where)
        return stream

    def _find_runtime(self, name: str, where: str) -> Runtime:
        if name not in self._replaying:
            try:
                self._replaying[name] = find_runtime(name, self._bundle)(self._bundle)
            except Unavailable as error:
                raise Unavailable(f"{where} was stepped by runtime {name}, and only that can replay it: {error}") from None
        return self._replaying[name]

    def _replay(self, runtime: Runtime, stream: Stream, steps: int, packed: bytes, where: str) -> Stream:
        """Step a stream through one entry, after which it has taken ``steps`` steps."""
        name = f"{where}: the entry for step {steps} of its journal"
        check, content = packed[:CHECKSUM_BYTES], packed[CHECKSUM_BYTES:]
        if zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little") != check:
            raise InvalidInput(f"{name} is damaged")
        inputs = unpack_tensors(content, name)
        if stream.steps + length(self.contract, inputs) != steps:
            raise InvalidInput(f"{name} does not follow step {stream.steps}: an entry is missing")
        try:
            after = self._step(runtime, stream, inputs)
        except Exception as error:  # a runtime may raise anything
            raise InvalidInput(f"{name} cannot be replayed: {error}") from error
        if checksum(self.contract, after) != notes_on(content).get(STATE):
            raise ReplayDiffers(
                f"{name} leads to another state than was acknowledged: it is damaged, or this machine or version of the "
                f"runtime computes other bits"
            )
        return after

    def _step(self, runtime: Runtime, stream: Stream, inputs: Arrays) -> Stream:
        steps = length(self.contract, inputs) if _is_chunk(self.contract, inputs) else None
        generator = copy_generator(stream.generator)
        complete = add_noise(inputs, generator, self.contract, stream.batch, steps)
        entry = BatchEntry(complete, stream.state, stream.batch)
        (result,) = step_together(runtime, self.contract, [entry], chunk=steps is not None)
        return Stream(stream.batch, result.state, generator, stream.steps + (steps or 1))


def checksum(contract: Contract, stream: Stream) -> str:
    """A checksum of all that the next step depends on: the states to the bit, and the generator of noise."""
    value = zlib.crc32(json.dumps(stream.generator.bit_generator.state).encode())
    for spec in contract.states:
        value = zlib.crc32(np.ascontiguousarray(stream.state[spec.name]).data, value)
    return f"{value:08x}"


def length(contract: Contract, inputs: Arrays) -> int:
    """The number of steps of a request."""
    return len(next(iter(inputs.values()))) if _is_chunk(contract, inputs) else 1


def _is_chunk(contract: Contract, inputs: Arrays) -> bool:
    return any(inputs[spec.name].ndim > len(spec.axes) for spec in contract.inputs if spec.name in inputs)
