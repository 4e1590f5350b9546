"""Progress on stderr: a bar in a terminal, otherwise a line at intervals. Short work prints no line."""

import time
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

INTERVAL = 5.0
"""Seconds before the first line and between lines."""


class Progress:
    """The progress of one command.

    Args:
        models: how many models there are. For several, each gets a line of its own outside of a terminal.
        intervals: whether to write a line at intervals outside of a terminal.
    """

    def __init__(self, models: int = 1, *, intervals: bool = True) -> None:
        columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._screen = Console(stderr=True)
        self._bar = Bar(*columns, console=self._screen, transient=True, disable=not self._screen.is_terminal)
        self._task = self._bar.add_task("", total=None)
        self._models, self._begun, self._intervals = models, 0, intervals
        self._label, self._done, self._total = "", 0, 0
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, model: str) -> None:
        """Start a new model or stage. The number of its steps is not known yet."""
        self._begun += 1
        self._label, self._done, self._total = model, 0, 0
        if self._models > 1 and not self._screen.is_terminal:
            self._line(f"{self._begun}/{self._models} {model}")
        self._bar.reset(self._task, description=model, total=None)

    def expect(self, steps: int) -> None:
        """Set the number of steps of one runtime; the number of runtimes is found while they run."""
        self._total = steps
        self._bar.update(self._task, total=steps)

    def advance(self, steps: int) -> None:
        """Add completed steps."""
        self._done += steps
        self._bar.advance(self._task, steps)
        if self._due():
            self._line(f"{self._label}: {self._done} of {self._total} steps")

    def stage(self, name: str) -> None:
        """Start a stage of work that cannot be counted."""
        self.begin(name)
        if self._due():
            self._line(name)

    def _due(self) -> bool:
        return self._intervals and not self._screen.is_terminal and time.monotonic() - self._last_line >= INTERVAL

    def _line(self, text: str) -> None:
        typer.echo(text, err=True)
        self._last_line = time.monotonic()
