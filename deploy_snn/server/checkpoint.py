"""Streams on disk: every step that the server has acknowledged survives the process, even a kill -9."""

import json
import logging
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import StoreFailed
from deploy_snn.server.log import log_event
from deploy_snn.server.names import MAX_NAME_BYTES, SequenceId, parse_sequence
from deploy_snn.server.store import Store, identify
from deploy_snn.server.stream import Stream, pack_stream, unpack_stream

SCHEMA = """
    CREATE TABLE IF NOT EXISTS bundle (files TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS streams (sequence TEXT PRIMARY KEY, stream BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS quarantine (sequence TEXT, stream BLOB, reason TEXT NOT NULL);
"""


class Checkpoint(Store):
    """The streams of one model, in a SQLite file that is locked against other servers.

    A commit has reached the operating system before the step is acknowledged. It survives the process, but not a power
    failure. Raises InvalidInput for a file that is damaged, in use, or of another export of the model.
    """

    def __init__(self, folder: Path, name: str, bundle: Bundle) -> None:
        self.path = folder / f"{name}.sqlite"
        self.contract = bundle.contract
        files = identify(bundle)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(SCHEMA)
            stored = self._database.execute("SELECT files FROM bundle").fetchone()
            if stored is None:
                self._database.execute("INSERT INTO bundle VALUES (?)", (files,))
            self._probe()  # creates the write-ahead log
            self._files = self._identities()
        except (sqlite3.Error, OSError) as error:
            raise InvalidInput(f"{self.path} cannot be used as a checkpoint: {error}") from None
        if stored is not None and stored[0] != files:
            self.close()
            raise InvalidInput(
                f"{self.path} has the streams of another export of {name}: serve that export, or choose another folder"
            )

    def load(self) -> dict[SequenceId, Stream]:
        """Read every stream as of its last acknowledged step. Raises InvalidInput if the file cannot be read.

        A stream that cannot be read is moved to the table ``quarantine`` and logged; the others go on.
        """
        found: dict[SequenceId, Stream] = {}
        try:
            for stored, packed in self._database.execute("SELECT sequence, stream FROM streams").fetchall():
                try:
                    name, stream = self._parse(stored, packed)
                except (ValueError, TypeError) as error:  # InvalidInput among them
                    self._quarantine(stored, packed, str(error))
                else:
                    found[name] = stream
        except sqlite3.Error as error:
            raise InvalidInput(f"{self.path} is damaged: {error}") from None
        return found

    def _parse(self, stored: str, packed: bytes) -> tuple[SequenceId, Stream]:
        name = parse_sequence(json.loads(stored))
        if name is None or not isinstance(packed, bytes):
            raise InvalidInput("it has no name, or its stream is not binary")
        return name, unpack_stream(packed, self.contract, name, "the stored stream")

    def _quarantine(self, stored: str, packed: bytes, reason: str) -> None:
        fields = {"checkpoint": str(self.path), "sequence": str(stored)[:MAX_NAME_BYTES], "reason": reason}
        log_event("stream quarantined", logging.WARNING, **fields)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO quarantine VALUES (?, ?, ?)", (stored, packed, reason))
            self._database.execute("DELETE FROM streams WHERE sequence = ?", (stored,))

    def write(self, streams: Mapping[SequenceId, Stream], ended: Mapping[SequenceId, Stream]) -> Collection[SequenceId]:
        """Store streams and delete those that have ended, in one transaction. None is refused. Raises StoreFailed."""
        with self._writing():
            self._database.executemany("DELETE FROM streams WHERE sequence = ?", [(json.dumps(name),) for name in ended])
            self._database.executemany(
                "INSERT OR REPLACE INTO streams VALUES (?, ?)",
                [(json.dumps(name), pack_stream(stream)) for name, stream in streams.items()],
            )
        return frozenset()

    def retry(self) -> None:
        """Find out whether a problem is over, without a stream to store."""
        with suppress(StoreFailed), self._writing():
            self._probe()

    def _probe(self) -> None:
        self._database.execute("UPDATE bundle SET files = files")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction, which has reached the files at its end. Raises StoreFailed, and records the problem."""
        problem = None
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield
            if self._identities() != self._files:
                problem = f"{self.path} was deleted or replaced under the running server"
        except (sqlite3.Error, OSError) as error:
            problem = f"{self.path} cannot be written: {error}"
        self._report(problem)
        if problem:
            raise StoreFailed(problem)

    def _identities(self) -> list[tuple[int, int]]:
        """The device and inode of the database and of its write-ahead log. Raises OSError if a file is missing."""
        found = [path.stat() for path in (self.path, self.path.with_name(f"{self.path.name}-wal"))]
        return [(status.st_dev, status.st_ino) for status in found]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
