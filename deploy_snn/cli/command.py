"""A command that explains an unknown option: a keyword of the model is given with ``--set``."""

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # typer has no public name for it


class Command(TyperCommand):
    """A command whose error for an unknown option names what was probably meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)  # parsing consumes them
        try:
            return super().parse_args(ctx, args)
        except USAGE_ERROR as error:
            name = str(getattr(error, "option_name", ""))
            takes_keywords = any("--set" in parameter.opts for parameter in self.params)
            if takes_keywords and name.startswith("--") and hasattr(error, "message"):
                error.message = f"{error.message}. A keyword of the model is given as --set {_keyword(name, given)}."
            raise


def _keyword(name: str, given: Sequence[str]) -> str:
    """``KEY=VALUE`` for an option that was given as ``--KEY VALUE`` or ``--KEY=VALUE``."""
    key = name.removeprefix("--").replace("-", "_")
    for argument, following in zip(given, [*given[1:], "VALUE"], strict=True):
        if argument.startswith(f"{name}="):
            return f"{key}={argument.partition('=')[2]}"
        if argument == name:
            return f"{key}={following}"
    return f"{key}=VALUE"
