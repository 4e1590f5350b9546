"""What an importer returns: the network, and what was not imported."""

from dataclasses import dataclass

from deploy_snn.network import Network


@dataclass(frozen=True)
class Imported:
    """An imported network.

    ``left_behind`` lists, a sentence each, the parts of the source that were not imported, such as learning rules and
    monitors. None of them changes a spike; an importer refuses parts that do. ``notes`` list what a user of the other
    framework may not expect, such as a renamed layer or a convention.
    """

    network: Network
    left_behind: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
