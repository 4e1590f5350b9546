"""The goals: the time of one contender beside that of another one, in each case in which both took part."""

from dataclasses import dataclass

from tables import Table

from .batch import PRODUCT
from .bindsnet import BINDSNET
from .brian import BRIAN
from .emx import EMX
from .hand import HAND
from .one_node import NODES, ONE_NODE
from .ours import ONNX, PYTHON, C
from .rounds import Result
from .scan import JAX
from .sparse import NEST
from .weights import FLOAT32, INT8, INT16


@dataclass(frozen=True)
class Goal:
    """A bound of ``first / second``, or of ``first - second`` in µs. ``where``: only in cases with this in the title."""

    first: str
    second: str
    bound: float
    at_most: bool = False
    difference: bool = False
    where: str = ""

    def row(self, result: Result) -> list[str] | None:
        """One row of the table: case, compared quantity, measured value, goal, met. None if the goal does not apply."""
        micros = result.micros
        if self.first not in micros or self.second not in micros or self.where not in result.case.title:
            return None
        first, second = micros[self.first], micros[self.second]
        value = first - second if self.difference else first / second
        words = f"{self.first} - {self.second}, µs" if self.difference else f"{self.first} / {self.second}"
        met = value <= self.bound if self.at_most else value >= self.bound
        goal = f"at {'most' if self.at_most else 'least'} {self.bound:g}"
        return [result.case.title, words, f"{value:.2f}" if value < 100 else f"{value:,.0f}", goal, "yes" if met else "NO"]


# Peers that are called from Python and allocate their outputs are compared with our runtime, which does so too.
GOALS = (
    Goal(C, HAND, 1.2, at_most=True),
    Goal(PYTHON, PRODUCT, 1.0, at_most=True),
    Goal(JAX, PYTHON, 2.0),
    Goal(BRIAN, C, 3.0),
    Goal(BINDSNET, PYTHON, 50.0, where="Diehl"),
    Goal(ONNX, PYTHON, 1.0),
    Goal(NEST, C, 1.0),
    Goal(EMX, C, 1.0),
    Goal(ONE_NODE, C, 5.0, at_most=True, difference=True),
    Goal(NODES, ONE_NODE, 1.0),
    Goal(FLOAT32, INT16, 1.0),
    Goal(FLOAT32, INT8, 1.0),
)


def beside_goals(name: str, results: list[Result]) -> Table:
    """All goals of some cases."""
    rows = [goal.row(result) for result in results for goal in GOALS]
    return Table(f"{name}: goals", ["", "", "measured", "goal", "met"], [row for row in rows if row])
