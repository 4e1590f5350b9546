"""Streams in Redis, for several servers: each goes on with any stream, and none can undo what another has done since.

Each stream is a hash with two fields: ``stream``, its state as of the last acknowledged step, and ``token``, the fencing
token of the last claim. Every claim writes a new token, and a write with any other is refused: that of a server which was
cut off while another took the stream over, and also one which was on its way when its sender gave up on it.

A stream of a network that learns has in place of ``stream`` a ``snapshot``, the ``runtime`` that steps it, and its journal:
for each request since, a field whose name is the number of steps that the stream had taken after it. ``first`` is the
snapshot's step, ``last`` the step after the last entry, and ``bytes`` the size of all entries. Where there is a ``stream``
too, an earlier version of the server has begun the stream anew, and the rest is out of date.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast
from uuid import uuid4

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.server.errors import StoreFailed
from deploy_snn.server.journal import Journal, ReplayDiffers, length
from deploy_snn.server.log import log_event
from deploy_snn.server.names import SequenceId
from deploy_snn.server.store import NO_INPUTS, Claim, SharedStore, identify
from deploy_snn.server.stream import Stream, pack_stream, unpack_stream
from deploy_snn.tensors import Arrays

SCHEMES = ("redis://", "rediss://", "unix://")
TIMEOUT = 3.0
"""Seconds that Redis may take to answer. A call is tried twice, as a connection may have been closed while it was idle."""
LONGEST_REQUEST = 600.0
"""Seconds for which a claimed stream is kept beyond the time that an idle one is: a long chunk is stepped meanwhile."""

CLAIM = """
    local found = {}
    for i, key in ipairs(KEYS) do
        local held = ARGV[2 + i]
        local exists = redis.call('HEXISTS', key, 'stream') == 1 or redis.call('HEXISTS', key, 'snapshot') == 1
        if held == 'start' or (held == 'create' and not exists) then
            found[i] = 1
        elseif not exists then
            found[i] = false
        elseif redis.call('HGET', key, 'token') == held then
            found[i] = 1
        else
            found[i] = redis.call('HGETALL', key)
        end
        if found[i] then
            redis.call('HSET', key, 'token', ARGV[1])
            redis.call('PEXPIRE', key, ARGV[2])
        end
    end
    return found
"""
"""Arguments: the new token, the time to live, and for each key the token of the copy in memory, or ``start``,
or ``create`` for a stream that starts if there is none.

Returns for each key 1 if that copy is up to date, or the stream's fields and their values, or nothing if there is none.
"""
WRITE = """
    local done = {}
    for i, key in ipairs(KEYS) do
        local token, field, value, before, after, room = unpack(ARGV, 6 * i - 2, 6 * i + 3)
        if redis.call('HGET', key, 'token') ~= token then
            done[i] = 0
        elseif field == 'end' then
            done[i] = redis.call('DEL', key)
        elseif field == 'entry' then
            local known = redis.call('HMGET', key, 'first', 'last', 'bytes', 'runtime')
            local size = (tonumber(known[3]) or 0) + #value
            if known[2] ~= before or known[4] ~= ARGV[3] then
                done[i] = 2
            elseif after - known[1] >= tonumber(ARGV[2]) or size > tonumber(room) then
                done[i] = 2
            else
                redis.call('HSET', key, after, value, 'last', after, 'bytes', size)
                redis.call('PEXPIRE', key, ARGV[1])
                done[i] = 1
            end
        else
            if field == 'snapshot' or redis.call('HLEN', key) > 2 then
                redis.call('DEL', key)
            end
            redis.call('HSET', key, 'token', token, field, value)
            if field == 'snapshot' then
                redis.call('HSET', key, 'first', after, 'last', after, 'bytes', 0, 'runtime', ARGV[3])
            end
            redis.call('PEXPIRE', key, ARGV[1])
            done[i] = 1
        end
    end
    return done
"""
"""Arguments: the time to live, the steps after which a snapshot is due, the runtime, and for each key the token, what is
stored, its value, the stream's steps before and after, and how many bytes its journal may have.

What is stored is ``stream``, ``snapshot``, ``entry`` or, without a value, ``end``. Returns for each key 1 if it is done, 0
if the token is an old one, and 2 for an entry in place of which a snapshot is due: the journal is full, or does not end at
the step before. It may end later, if the answer to an earlier write was lost.
"""
ADD = """
    if redis.call('HEXISTS', KEYS[1], 'stream') == 1 or redis.call('HEXISTS', KEYS[1], 'snapshot') == 1 then
        return 0
    end
    redis.call('HSET', KEYS[1], 'token', ARGV[1], 'stream', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
"""
"""Arguments: the token, the time to live, and the stream."""

REFUSED, SNAPSHOT_DUE = 0, 2
"""Outcomes of a write."""
Write = tuple[str, bytes, bytes, int, int, int]
"""What the script takes for one stream."""


class RedisStore(SharedStore):
    """The streams of one export of a model, in a Redis that several servers share.

    Redis itself drops a stream that has not been stepped for ``idle_timeout`` seconds. Raises InvalidInput for a Redis that
    cannot be reached.
    """

    def __init__(self, url: str, idle_timeout: float, name: str, bundle: Bundle, journal: Journal | None = None) -> None:
        self.contract = bundle.contract
        self._journal = journal or Journal(bundle)
        self._prefix = f"deploy_snn:{name}:{hashlib.sha256(identify(bundle).encode()).hexdigest()[:16]}:"
        self._idle = int(1000 * idle_timeout)
        self._claimed = self._idle + int(1000 * LONGEST_REQUEST)
        try:
            self._redis = Redis.from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 1)
            )
        except ValueError as error:
            raise InvalidInput(f"the store's address cannot be used: {error}") from None
        options = self._redis.connection_pool.connection_kwargs  # without the password, which the URL may have
        self.address = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._claim, self._write, self._add = (self._redis.register_script(script) for script in (CLAIM, WRITE, ADD))
        try:
            self._warn_of_losses(self._redis.info(), self._appendfsync())
        except RedisError as error:
            raise InvalidInput(f"Redis at {self.address} cannot be used as a store: {error}") from None

    def _appendfsync(self) -> str | None:
        """When Redis writes its file to the disk; None where the command CONFIG is not allowed, as with many providers."""
        try:
            return self._redis.config_get("appendfsync").get("appendfsync")
        except ResponseError:
            return None

    def _warn_of_losses(self, info: Mapping[str, Any], appendfsync: str | None) -> None:
        """Log the settings of Redis with which it may lose acknowledged steps."""
        losses = []
        if not info.get("aof_enabled"):
            losses.append("appendonly is off, so that streams are lost if Redis ends")
        elif appendfsync in ("everysec", "no"):
            # While an fsync runs, Redis answers first and writes to its file up to two seconds later.
            losses.append(f"appendfsync is {appendfsync} and not always, so that the last steps may be lost if Redis ends")
        if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
            losses.append(f"maxmemory-policy is {info.get('maxmemory_policy')}, so that streams are lost if memory is full")
        for loss in losses:
            log_event("store may lose streams", logging.WARNING, store=self.address, reason=loss)

    def claim(
        self,
        held: Mapping[SequenceId, Stream | None],
        starting: Collection[SequenceId],
        creating: Collection[SequenceId] = (),
    ) -> Claim:
        token = uuid4().hex
        known = {name: stream.token if stream else "" for name, stream in held.items()}
        known |= dict.fromkeys(starting, "start") | dict.fromkeys(creating, "create")
        with self._access():
            found = self._claim([self._key(name) for name in known], [token, self._claimed, *known.values()])
        streams: dict[SequenceId, Stream] = {}
        for name, answer in zip(known, found, strict=True):
            stream = held.get(name) if answer == 1 else self._restore(name, _pairs(answer))
            if stream:
                streams[name] = stream.held_under(token)
        return Claim(token, streams)

    def _restore(self, name: SequenceId, fields: Mapping[bytes, bytes]) -> Stream | None:
        """Read a stored stream. One that cannot be read is logged, and counts as unknown.

        Raises StoreFailed for a journal that this machine cannot replay: another server may.
        """
        if b"stream" not in fields and b"snapshot" not in fields:
            return None
        try:
            return self._unpack(name, fields)
        except (Unavailable, ReplayDiffers) as error:
            raise StoreFailed(str(error)) from None
        except (InvalidInput, ValueError) as error:
            log_event("stored stream unreadable", logging.WARNING, store=self.address, sequence=name, reason=str(error))
            return None

    def _unpack(self, name: SequenceId, fields: Mapping[bytes, bytes]) -> Stream:
        if b"stream" in fields:
            return unpack_stream(fields[b"stream"], self.contract, name, "the stored stream")
        snapshot = unpack_stream(fields[b"snapshot"], self.contract, name, "the stored stream")
        entries = sorted((int(key), value) for key, value in fields.items() if key.isdigit())
        where = f"the stored stream {json.dumps(name)}"
        stream = self._journal.replay(snapshot, entries, fields.get(b"runtime", b"").decode(), where)
        if stream.steps != int(fields.get(b"last", -1)):
            raise InvalidInput(f"{where}: the last entries of its journal are missing")
        return stream

    def write(
        self,
        streams: Mapping[SequenceId, Stream],
        ended: Mapping[SequenceId, Stream],
        inputs: Mapping[SequenceId, Arrays] = NO_INPUTS,
    ) -> set[SequenceId]:
        writes = {name: self._entry(stream, inputs.get(name)) or self._whole(stream) for name, stream in streams.items()}
        writes |= {name: (stream.token, b"end", b"", 0, 0, 0) for name, stream in ended.items()}
        done = self._write_all(writes)
        due = {name: self._whole(streams[name]) for name, outcome in done.items() if outcome == SNAPSHOT_DUE}
        if due:
            done |= self._write_all(due)
        return {name for name, outcome in done.items() if outcome == REFUSED}

    def _write_all(self, writes: Mapping[SequenceId, Write]) -> dict[SequenceId, int]:
        arguments: list[str | bytes | int] = [argument for write in writes.values() for argument in write]
        with self._access():
            settings = (self._idle, self._journal.every, self._journal.runtime)
            done = self._write([self._key(name) for name in writes], [*settings, *arguments])
        return dict(zip(writes, done, strict=True))

    def _whole(self, stream: Stream) -> Write:
        field = b"snapshot" if self._journal.is_kept else b"stream"
        return stream.token, field, pack_stream(stream), stream.steps, stream.steps, 0

    def _entry(self, stream: Stream, inputs: Arrays | None) -> Write | None:
        """The entry of a request for the journal of its stream; None if the stream has to be stored whole."""
        before = stream.steps - length(self.contract, inputs) if inputs else 0
        if not self._journal.is_kept or not inputs or before == 0:
            return None
        return stream.token, b"entry", self._journal.pack_entry(inputs, stream), before, stream.steps, stream.nbytes

    def settle(self, streams: Mapping[SequenceId, Stream]) -> None:
        for name, stream in streams.items() if self.contract.weights else ():
            with self._access():
                first, last = cast("list[bytes | None]", self._redis.hmget(self._key(name), "first", "last"))
            if first != last:
                self.write({name: stream}, {})

    def read(self, sequence: SequenceId) -> Stream | None:
        with self._access():
            fields = self._redis.hgetall(self._key(sequence))
        return self._restore(sequence, cast("dict[bytes, bytes]", fields))

    def add(self, sequence: SequenceId, stream: Stream) -> bool:
        with self._access():
            return bool(self._add([self._key(sequence)], [uuid4().hex, self._idle, pack_stream(stream)]))

    def retry(self) -> None:
        with suppress(StoreFailed), self._access():
            self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _key(self, sequence: SequenceId) -> str:
        return self._prefix + json.dumps(sequence)

    @contextmanager
    def _access(self) -> Iterator[None]:
        """Record whether Redis answers. Raises StoreFailed if it does not, or refuses a command."""
        try:
            yield
        except RedisError as error:
            problem = f"Redis at {self.address} failed: {error}"
            self._report(problem)
            raise StoreFailed(problem) from None
        self._report(None)


def _pairs(flat: list[bytes] | None) -> dict[bytes, bytes]:
    """The fields of a hash, which a script returns in turn with their values."""
    return dict(zip(flat[::2], flat[1::2], strict=True)) if flat else {}
