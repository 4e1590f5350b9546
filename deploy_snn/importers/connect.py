"""Connecting the layers of an imported network, with errors that use the names of the file."""

from deploy_snn.errors import InvalidInput
from deploy_snn.network import Connection, Network


def connect(network: Network, connection: Connection, source: str, target: str) -> None:
    """Add a connection of a file to a network. Raises InvalidInput, naming the connection, if it does not fit."""
    try:
        network.add_connection(connection, source, target)
    except InvalidInput as error:
        problem = str(error).removeprefix(f"add_connection(..., {source!r}, {target!r}): ")
        raise InvalidInput(f"the connection from '{source}' to '{target}': {problem}") from None
