"""What an importer gives: the network, and in plain words what it could not bring along."""

from dataclasses import dataclass

from deploy_snn.network import Network


@dataclass(frozen=True)
class Imported:
    """A network of another framework's as one of ours.

    ``left_behind`` names, a sentence each, what was in the source and is not in the network: learning rules, monitors,
    rewards. Nothing in it changes a spike: what would is refused. ``notes`` say where a user of the other framework could
    expect something else: a layer that had to be renamed, a convention.
    """

    network: Network
    left_behind: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
