"""Streams on disk: every step that the server has acknowledged survives the process, even a kill -9.

Of a network that learns, the table ``streams`` holds snapshots, and the table ``journal`` what followed: a row without an
entry for the snapshot, and one for each request since. ``first`` is the snapshot's step, ``step`` the step after the
request, and ``bytes`` the size of all entries so far.
"""

import json
import logging
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.errors import StoreFailed
from deploy_snn.server.journal import Journal, length
from deploy_snn.server.log import log_event
from deploy_snn.server.names import MAX_NAME_BYTES, SequenceId, parse_sequence
from deploy_snn.server.store import NO_INPUTS, Store, identify
from deploy_snn.server.stream import Stream, pack_stream, unpack_stream
from deploy_snn.tensors import Arrays

SCHEMA = """
    CREATE TABLE IF NOT EXISTS bundle (files TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS streams (sequence TEXT PRIMARY KEY, stream BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS journal (
        sequence TEXT, step INTEGER, first INTEGER, bytes INTEGER, runtime TEXT, entry BLOB, PRIMARY KEY (sequence, step)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS quarantine (sequence TEXT, stream BLOB, reason TEXT NOT NULL);
"""
ENTRIES = "SELECT step, runtime, CAST(entry AS BLOB) FROM journal WHERE sequence = ? ORDER BY step"
LAST_ENTRY = "SELECT step, first, bytes, runtime FROM journal WHERE sequence = ? ORDER BY step DESC LIMIT 1"
FORMAT = 2
"""Of a file with journals. A file without has no number before the hashes of the bundle's files."""


class Checkpoint(Store):
    """The streams of one model, in a SQLite file that is locked against other servers.

    A commit has reached the operating system before the step is acknowledged. It survives the process, but not a power
    failure. Raises InvalidInput for a file that is damaged, in use, or of another export of the model.
    """

    def __init__(self, folder: Path, name: str, bundle: Bundle, journal: Journal | None = None) -> None:
        self.path = folder / f"{name}.sqlite"
        self.contract = bundle.contract
        self._journal = journal or Journal(bundle)
        self._learns = bool(bundle.contract.weights)
        files = identify(bundle)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(SCHEMA)
            stored = self._database.execute("SELECT files FROM bundle").fetchone()
            version, found = _split_version(stored[0]) if stored else (1, files)
            if stored is None:
                self._database.execute("INSERT INTO bundle VALUES (?)", (files,))
            if found == files and version < FORMAT and self._journal.is_kept:  # earlier versions shall not open it then
                self._database.execute("UPDATE bundle SET files = ?", (f"{FORMAT} {files}",))
            self._probe()  # creates the write-ahead log
            self._files = self._identities()
        except (sqlite3.Error, OSError, ValueError) as error:
            raise InvalidInput(f"{self.path} cannot be used as a checkpoint: {error}") from None
        if version > FORMAT:
            self.close()
            raise InvalidInput(
                f"{self.path} has format {version}, and this version reads up to {FORMAT}: upgrade deploy_snn"
            )
        if found != files:
            self.close()
            raise InvalidInput(
                f"{self.path} has the streams of another export of {name}: serve that export, or choose another folder"
            )

    def load(self) -> dict[SequenceId, Stream]:
        """Read every stream as of its last acknowledged step. Raises InvalidInput if the file cannot be read.

        A stream that cannot be read is moved to the table ``quarantine`` and logged; the others go on. Raises Unavailable
        for a journal that the runtimes of this machine cannot replay.
        """
        found: dict[SequenceId, Stream] = {}
        try:
            for stored, packed in self._database.execute("SELECT sequence, stream FROM streams").fetchall():
                try:
                    name, stream = self._restore(stored, packed)
                except (ValueError, TypeError) as error:  # InvalidInput among them
                    self._quarantine(stored, packed, str(error))
                else:
                    found[name] = stream
        except sqlite3.Error as error:
            raise InvalidInput(f"{self.path} is damaged: {error}") from None
        return found

    def _restore(self, stored: str, packed: bytes) -> tuple[SequenceId, Stream]:
        name = parse_sequence(json.loads(stored))
        if name is None or not isinstance(packed, bytes):
            raise InvalidInput("it has no name, or its stream is not binary")
        where = f"the stored stream {stored}"
        stream = unpack_stream(packed, self.contract, name, "the stored stream")
        _, *followed = self._database.execute(ENTRIES, (stored,)).fetchall() or [None]
        entries = [(step, entry) for step, _, entry in followed]
        return name, self._journal.replay(stream, entries, followed[0][1] if followed else "", where)

    def _quarantine(self, stored: str, packed: bytes, reason: str) -> None:
        fields = {"checkpoint": str(self.path), "sequence": str(stored)[:MAX_NAME_BYTES], "reason": reason}
        log_event("stream quarantined", logging.WARNING, **fields)
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("INSERT INTO quarantine VALUES (?, ?, ?)", (stored, packed, reason))
            self._database.execute(
                "INSERT INTO quarantine SELECT sequence, entry, 'the entry for step ' || step || ' of its journal' "
                "FROM journal WHERE sequence = ? AND entry IS NOT NULL",
                (stored,),
            )
            self._delete([stored])

    def write(
        self,
        streams: Mapping[SequenceId, Stream],
        ended: Mapping[SequenceId, Stream],
        inputs: Mapping[SequenceId, Arrays] = NO_INPUTS,
    ) -> Collection[SequenceId]:
        """Store streams and delete those that have ended, in one transaction. None is refused. Raises StoreFailed."""
        with self._writing():
            self._delete([json.dumps(name) for name in ended])
            whole = {
                json.dumps(name): stream
                for name, stream in streams.items()
                if not self._append(json.dumps(name), stream, inputs.get(name))
            }
            if self._learns:
                self._database.executemany("DELETE FROM journal WHERE sequence = ?", [(stored,) for stored in whole])
            self._database.executemany(
                "INSERT OR REPLACE INTO streams VALUES (?, ?)",
                [(stored, pack_stream(stream)) for stored, stream in whole.items()],
            )
            if self._journal.is_kept:
                rows = [(name, stream.steps, stream.steps, self._journal.runtime) for name, stream in whole.items()]
                self._database.executemany("INSERT INTO journal VALUES (?, ?, ?, 0, ?, NULL)", rows)
        return frozenset()

    def _append(self, stored: str, stream: Stream, inputs: Arrays | None) -> bool:
        """Append a request to the journal of its stream; False if the stream has to be stored whole."""
        if not self._journal.is_kept or inputs is None:
            return False
        row = self._database.execute(LAST_ENTRY, (stored,)).fetchone()
        before = stream.steps - length(self.contract, inputs)
        if row is None or before == 0:
            return False
        last, first, size, runtime = row
        if last != before or runtime != self._journal.runtime or stream.steps - first >= self._journal.every:
            return False
        entry = self._journal.pack_entry(inputs, stream)
        size += len(entry)
        if size > stream.nbytes:
            return False
        fields = (stored, stream.steps, first, size, runtime, entry)
        self._database.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)", fields)
        return True

    def settle(self, streams: Mapping[SequenceId, Stream]) -> None:
        if not self._learns:
            return
        with self._writing():
            rows = self._database.execute("SELECT DISTINCT sequence FROM journal WHERE entry IS NOT NULL").fetchall()
        journals = {stored for (stored,) in rows}
        for name, stream in streams.items():
            if json.dumps(name) in journals:
                self.write({name: stream}, {})

    def _delete(self, names: list[str]) -> None:
        """Delete streams with their journals."""
        rows = [(stored,) for stored in names]
        self._database.executemany("DELETE FROM streams WHERE sequence = ?", rows)
        if self._learns:
            self._database.executemany("DELETE FROM journal WHERE sequence = ?", rows)

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


def _split_version(stored: str) -> tuple[int, str]:
    """The format of a file, and the hashes of its bundle's files. Raises ValueError for a text that is neither."""
    if stored.startswith("{"):
        return 1, stored
    number, _, files = stored.partition(" ")
    return int(number), files
