"""A command that explains an unknown option: a keyword of the model is given with ``--set``."""

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # typer has no public name for it


class Group(TyperGroup):
    """The program itself, with the help of a :class:`Command`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_type(super().get_params(ctx))


class Command(TyperCommand):
    """A command whose error for an unknown option suggests a similar one."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_without_type(super().get_params(ctx))

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


def _flags_without_type(parameters: Sequence[Any]) -> list[Any]:
    """Parameters whose help shows no type for a flag, which takes no value."""
    for parameter in parameters:
        if getattr(parameter, "is_bool_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return list(parameters)


def _keyword(name: str, given: Sequence[str]) -> str:
    """``KEY=VALUE`` for an option that was given as ``--KEY VALUE`` or ``--KEY=VALUE``."""
    key = name.removeprefix("--").replace("-", "_")
    for argument, following in zip(given, [*given[1:], "VALUE"], strict=True):
        if argument.startswith(f"{name}="):
            return f"{key}={argument.partition('=')[2]}"
        if argument == name:
            return f"{key}={following}"
    return f"{key}=VALUE"
