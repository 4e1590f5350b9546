"""A connection or neuron is exact only if its class declares it; subclasses with other equations are inexact."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from deploy_snn.contract import Operation, Rounding
from deploy_snn.errors import InvalidInput
from deploy_snn.network import Connection, Dense, Network, OneToOne, snap_weights
from deploy_snn.neurons import GRADED_NEURONS, NEURONS, IFNodes, Input, LIFNodes, Relay
from deploy_snn.registry import CONNECTIONS


class Silent(Connection):
    """A connection that sums weights and declares nothing."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.register_buffer("w", w)

    def shape_error(self) -> str:
        return ""

    def transmit(self, z: Tensor) -> Tensor:
        return z @ self.w


class Squared(Dense):
    """A dense connection with other equations, which inherits the declaration of Dense."""

    def transmit(self, z: Tensor) -> Tensor:
        return super().transmit(z) ** 2


class Renamed(Dense):
    """A dense connection with another constructor, and the same equations."""

    def __init__(self, w: Tensor, label: str = "") -> None:
        super().__init__(w)
        self.label = label


class Doubled(OneToOne):
    """A subclass with its own declaration."""

    EXACT: ClassVar = "always"

    def transmit(self, z: Tensor) -> Tensor:
        return z * self.w * 2


class Sigmoid(LIFNodes):
    """LIF with other equations."""

    def leak(self, v: Tensor) -> Tensor:
        return torch.sigmoid(v)


def contract_of(connection: Connection, source: object = None) -> tuple[Rounding, ...]:
    network = Network()
    network.add_layer(source or Input(n=2), "X", external=True)
    network.add_layer(IFNodes(n=2), "out")
    network.add_connection(connection, "X", "out")
    return network.contract.rounding


ON_GRID, OFF_GRID = torch.eye(2) * 0.5, torch.full((2, 2), 0.1)


@pytest.mark.parametrize(
    ("connection", "operation"),
    [
        (Silent(ON_GRID), Operation.UNKNOWN),
        (Squared(ON_GRID), Operation.SUM),
        (Dense(OFF_GRID), Operation.SUM),
        (Dense(ON_GRID), None),
        (Renamed(ON_GRID), None),
        (Doubled(0.1), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_which_connections_are_exact(connection: Connection, operation: Operation | None) -> None:
    assert contract_of(connection) == (() if operation is None else (Rounding(tensor="X_to_out", operation=operation),))


def test_graded_sums_are_inexact_on_the_grid() -> None:
    assert contract_of(Dense(ON_GRID), Relay(n=2)) == (Rounding(tensor="X_to_out", operation=Operation.SUM),)


def test_snapping_an_undeclared_connection_is_an_error() -> None:
    """snap_weights rejects a connection whose class does not declare its sums."""
    network = Network()
    network.add_layer(Input(n=2), "X")
    network.add_layer(IFNodes(n=2), "out")
    network.add_connection(Silent(OFF_GRID), "X", "out")
    with pytest.raises(
        InvalidInput, match=r"X_to_out \(Silent\) cannot be exact: its class does not declare summed_weights"
    ):
        snap_weights(network.connections, 8)


def test_a_neuron_with_other_equations_is_inexact() -> None:
    assert LIFNodes(n=2).contract.rounding == ()
    assert Sigmoid(n=2).contract.rounding == (Rounding(tensor="s", operation=Operation.UNKNOWN),)


@pytest.mark.parametrize("name", [*NEURONS, *GRADED_NEURONS])
def test_every_neuron_class_declares_rounding(name: str) -> None:
    cls = NEURONS[name] if name in NEURONS else GRADED_NEURONS[name]
    assert Operation.UNKNOWN not in {rounded.operation for rounded in cls(n=2).contract.rounding}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_every_connection_class_declares_exactness(name: str) -> None:
    from deploy_snn.network.grid import NOT_EQUATIONS
    from deploy_snn.neurons.nodes import declaration_holds

    cls = CONNECTIONS[name]
    assert cls.EXACT != "never"
    assert declaration_holds(cls, "EXACT", NOT_EQUATIONS)
