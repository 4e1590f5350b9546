"""Streams on disk: what a server has acknowledged outlives it, even a kill -9."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from deploy_snn.contract import check_tensors
from deploy_snn.errors import InvalidInput
from deploy_snn.formats import Bundle
from deploy_snn.server.protocol import Sequence
from deploy_snn.server.stream import Stream
from deploy_snn.tensors import pack_tensors, unpack_tensors

SCHEMA = """
    CREATE TABLE IF NOT EXISTS bundle (files TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS streams (
        sequence TEXT PRIMARY KEY,
        batch INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        generator TEXT NOT NULL,
        state BLOB NOT NULL
    ) WITHOUT ROWID;
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
            rows = self._database.execute("SELECT sequence, batch, steps, generator, state FROM streams").fetchall()
            return {json.loads(sequence): self._stream(*rest) for sequence, *rest in rows}
        except (sqlite3.Error, InvalidInput, ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{self.path} is damaged: {error}") from None

    def _stream(self, batch: int, steps: int, generator: str, state: bytes) -> Stream:
        random = np.random.Generator(np.random.PCG64())
        random.bit_generator.state = json.loads(generator)
        tensors = unpack_tensors(state, "a state")
        check_tensors(self.contract.states, tensors, "state", {"batch": batch})
        return Stream(batch, tensors, random, steps)

    def write(self, kept: Mapping[Sequence, Stream], dropped: Iterable[Sequence]) -> None:
        """Take over what has changed, all of it or nothing."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("DELETE FROM streams WHERE sequence = ?", [(json.dumps(name),) for name in dropped])
            self._database.executemany(
                "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
                [
                    (
                        json.dumps(name),
                        stream.batch,
                        stream.steps,
                        json.dumps(stream.generator.bit_generator.state),
                        pack_tensors(stream.state),
                    )
                    for name, stream in kept.items()
                ],
            )

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
