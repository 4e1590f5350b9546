"""Tables for the terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """A console for standard output. If it is not a terminal, it is wide enough that no cell is wrapped."""
    out = Console(highlight=False, markup=False)  # rich would parse shapes in brackets as markup
    if not out.is_terminal:
        out.width = 200
    return out


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> Table:
    """A plain table; the columns named in ``right`` hold numbers."""
    result = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        result.add_column(column, justify="right" if column in set(right) else "left", overflow="fold")
    for row in rows:
        result.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return result


def size(n_bytes: int) -> str:
    """A file size in readable form."""
    return f"{n_bytes} B" if n_bytes < 1024 else f"{n_bytes / 1024:.1f} kB"


def count(number: int, noun: str) -> str:
    """A number with its noun, such as "1 model" and "2 models"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
