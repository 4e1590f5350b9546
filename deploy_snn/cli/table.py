"""Tables for people."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Standard output; as wide as it takes where it is no terminal, so that nothing is cut."""
    out = Console(highlight=False, markup=False)  # shapes are written in brackets, and so is markup
    if not out.is_terminal:
        out.width = 200
    return out


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> Table:
    """A plain table; the columns named in ``right`` hold numbers."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in set(right) else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return made


def size(n_bytes: int) -> str:
    """A file's size as people read it."""
    return f"{n_bytes} B" if n_bytes < 1024 else f"{n_bytes / 1024:.1f} kB"
