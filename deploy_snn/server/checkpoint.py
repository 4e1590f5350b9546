"""Streams on disk: what a server has acknowledged outlives it, even a kill -9."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput
from deploy_snn.server.protocol import Sequence
from deploy_snn.server.stream import Stream, pack_stream, unpack_stream

SCHEMA = """
    CREATE TABLE IF NOT EXISTS bundle (files TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS streams (sequence TEXT PRIMARY KEY, stream BLOB NOT NULL) WITHOUT ROWID;
"""


class Checkpoint:
    """The streams of one model, in a SQLite file that no other server may use at the same time.

    A commit is with the operating system before a step is acknowledged: it survives the process, though not a power cut.
    Raises InvalidInput for a file that is damaged, in use, or holds the streams of another export of the model.
    """

    def __init__(self, folder: Path, name: str, bundle: Bundle) -> None:
        self.path = folder / f"{name}.sqlite"
        self.contract = bundle.contract
        files = json.dumps({file: record.sha256 for file, record in sorted(bundle.manifest.files.items())})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=1)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(SCHEMA)
            kept = self._database.execute("SELECT files FROM bundle").fetchone()
            if kept is None:
                self._database.execute("INSERT INTO bundle VALUES (?)", (files,))
        except (sqlite3.Error, OSError) as error:
            raise InvalidInput(f"{self.path} cannot keep streams: {error}") from None
        if kept is not None and kept[0] != files:
            self.close()
            raise InvalidInput(
                f"{self.path} holds the streams of another export of {name}: serve that one again, or take another folder"
            )

    def load(self) -> dict[Sequence, Stream]:
        """Every stream as it was last acknowledged. Raises InvalidInput if one of them cannot be read."""
        try:
            rows = self._database.execute("SELECT sequence, stream FROM streams").fetchall()
            names = [(json.loads(sequence), packed) for sequence, packed in rows]
            return {name: unpack_stream(packed, self.contract, name, f"sequence {name!r}") for name, packed in names}
        except (sqlite3.Error, InvalidInput, ValueError, TypeError) as error:
            raise InvalidInput(f"{self.path} is damaged: {error}") from None

    def write(self, kept: Mapping[Sequence, Stream], dropped: Iterable[Sequence]) -> None:
        """Take over what has changed, all of it or nothing."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("DELETE FROM streams WHERE sequence = ?", [(json.dumps(name),) for name in dropped])
            self._database.executemany(
                "INSERT OR REPLACE INTO streams VALUES (?, ?)",
                [(json.dumps(name), pack_stream(stream)) for name, stream in kept.items()],
            )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
