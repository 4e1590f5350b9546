"""Tables, for a terminal and for the docs."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from deploy_snn.cli.table import table


@dataclass(frozen=True)
class Table:
    """Rows of text under a title; all columns but the first hold numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self, console: Console) -> None:
        console.print(table(self.title, self.columns, self.rows, right=self.columns[1:]))

    def markdown(self) -> str:
        line = "| {} |".format
        rule = line(" | ".join(["---", *("---:" for _ in self.columns[1:])]))
        rows = [line(" | ".join(row)) for row in self.rows]
        return "\n".join([f"**{self.title}**", "", line(" | ".join(self.columns)), rule, *rows, ""])


def micros(value: float) -> str:
    """Microseconds with as many digits as they are worth."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
