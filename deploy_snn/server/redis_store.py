"""Streams in Redis, for several servers: each goes on with any stream, and none can undo what another has done since.

Each stream is a hash with two fields: ``stream``, its state as of the last acknowledged step, and ``token``, the fencing
token of the last claim. Every claim writes a new token, and a write with any other is refused: that of a server which was
cut off while another took the stream over, and also one which was on its way when its sender gave up on it.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import StoreFailed
from deploy_snn.server.log import log_event
from deploy_snn.server.names import SequenceId
from deploy_snn.server.store import Claim, SharedStore, identify
from deploy_snn.server.stream import Stream, pack_stream, unpack_stream

SCHEMES = ("redis://", "rediss://", "unix://")
TIMEOUT = 3.0
"""Seconds that Redis may take to answer. A call is tried twice, as a connection may have been closed while it was idle."""
LONGEST_REQUEST = 600.0
"""Seconds for which a claimed stream is kept beyond the time that an idle one is: a long chunk is stepped meanwhile."""

CLAIM = """
    local found = {}
    for i, key in ipairs(KEYS) do
        local held = ARGV[2 + i]
        local exists = redis.call('HEXISTS', key, 'stream') == 1
        if held == 'start' or (held == 'create' and not exists) then
            found[i] = 1
        elseif not exists then
            found[i] = false
        elseif redis.call('HGET', key, 'token') == held then
            found[i] = 1
        else
            found[i] = redis.call('HGET', key, 'stream')
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

Returns for each key 1 if that copy is up to date, or the stream, or nothing if there is none.
"""
WRITE = """
    local done = {}
    for i, key in ipairs(KEYS) do
        local token, stream = ARGV[2 * i], ARGV[2 * i + 1]
        if redis.call('HGET', key, 'token') ~= token then
            done[i] = 0
        elseif stream == '' then
            done[i] = redis.call('DEL', key)
        else
            redis.call('HSET', key, 'stream', stream)
            redis.call('PEXPIRE', key, ARGV[1])
            done[i] = 1
        end
    end
    return done
"""
"""Arguments: the time to live, and for each key the token and the stream, which is empty for one that has ended."""
ADD = """
    if redis.call('HEXISTS', KEYS[1], 'stream') == 1 then
        return 0
    end
    redis.call('HSET', KEYS[1], 'token', ARGV[1], 'stream', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
"""
"""Arguments: the token, the time to live, and the stream."""


class RedisStore(SharedStore):
    """The streams of one export of a model, in a Redis that several servers share.

    Redis itself drops a stream that has not been stepped for ``idle_timeout`` seconds. Raises InvalidInput for a Redis that
    cannot be reached.
    """

    def __init__(self, url: str, idle_timeout: float, name: str, bundle: Bundle) -> None:
        self.contract = bundle.contract
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
            stream = held.get(name) if answer == 1 else self._unpack(name, answer)
            if stream:
                streams[name] = stream.held_under(token)
        return Claim(token, streams)

    def _unpack(self, name: SequenceId, packed: bytes | None) -> Stream | None:
        """Read a stored stream. One that cannot be read is logged, and counts as unknown."""
        if packed is None:
            return None
        try:
            return unpack_stream(packed, self.contract, name, "the stored stream")
        except InvalidInput as error:
            log_event("stored stream unreadable", logging.WARNING, store=self.address, sequence=name, reason=str(error))
            return None

    def write(self, streams: Mapping[SequenceId, Stream], ended: Mapping[SequenceId, Stream]) -> set[SequenceId]:
        arguments: list[str | bytes] = []
        for stream in streams.values():
            arguments += stream.token, pack_stream(stream)
        for stream in ended.values():
            arguments += stream.token, b""
        names = [*streams, *ended]
        with self._access():
            done = self._write([self._key(name) for name in names], [self._idle, *arguments])
        return {name for name, stored in zip(names, done, strict=True) if not stored}

    def read(self, sequence: SequenceId) -> Stream | None:
        with self._access():
            packed = self._redis.hget(self._key(sequence), "stream")
        return self._unpack(sequence, packed if isinstance(packed, bytes) else None)

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
