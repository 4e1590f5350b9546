"""``deploy-snn describe``: what a neuron, a connection or a learning rule computes, and its keywords."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deploy_snn.cli.json_file import JsonFile, write_json
from deploy_snn.cli.options import complete_neuron
from deploy_snn.cli.table import console, table

if TYPE_CHECKING:
    from rich.console import Console

    from deploy_snn.description import Description


def describe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The name of a neuron, a connection or a learning rule; see `list`.",
            autocompletion=complete_neuron,
        ),
    ],
    *,
    json_file: JsonFile = None,
) -> None:
    """Show the equation of a neuron, a connection or a learning rule, its reference, and its keywords.

    A keyword of a neuron is set with --set KEY=VALUE, and n, shape and dt with options of their own.
    """
    from deploy_snn.description import describe as find

    found = find(name)
    if json_file is not None:
        write_json(json_file, [asdict(description) for description in found])
        return
    out = console()
    for description in found:
        _print(description, out)


def _print(description: "Description", out: "Console") -> None:
    out.print(f"{description.kind} {description.name}: {description.python}", style="bold")
    out.print(description.summary)
    if description.equation:
        out.print("\nEquation of a step:\n" + "\n".join(f"    {line}" for line in description.equation))
    if description.reference:
        out.print(f"\nReference: {description.reference}")
    if description.states:
        rows = ([state.name, state.kind, state.initial, state.unit] for state in description.states)
        out.print(table("\nStates", ["name", "kind", "initial", "unit"], rows))
    keywords = ([keyword.name, str(keyword.default), keyword.unit, keyword.about] for keyword in description.keywords)
    out.print(table("\nKeywords", ["name", "default", "unit", "about"], keywords))
