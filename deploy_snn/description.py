"""What a neuron, a connection or a learning rule computes, and its keywords, from the registry and the docstrings."""

import inspect
import math
import re
from dataclasses import dataclass
from typing import Any, get_args

from deploy_snn.errors import InvalidInput
from deploy_snn.registry import CONNECTIONS, GRADED_NEURONS, NEURONS, RULES, Entry, Registry, unknown

KINDS: dict[str, Registry[Any]] = {registry.noun: registry for registry in (NEURONS, GRADED_NEURONS, CONNECTIONS, RULES)}

REFERENCE = re.compile(
    r"(?P<authors>[A-Z][\w'-]+(?: (?:&|van|et|al\.|[A-Z][\w'-]+))*) (?P<year>(?:19|20)\d\d)(?:, (?P<doi>doi:[^\s),;]+\w))?"
)
UNIT = re.compile(r"\bin (mV|ms|1/ms|1 / \(mV ms\)|the unit of the drive)\b")
ARGUMENT = re.compile(r"(?:^|(?<=\. ))(\w+(?:, \w+)*): ")
REQUIRED = "required"

HEADING = re.compile(r"(?:Args|Arguments|Equation|Raises|Returns|Keywords|Further keywords)\b.*")


@dataclass(frozen=True)
class Keyword:
    """A keyword of a constructor. ``default`` is "required" if there is none; ``unit`` is "1" for a plain number."""

    name: str
    default: Any
    unit: str
    about: str


@dataclass(frozen=True)
class State:
    """A state of a class, and its value before the first step, in words."""

    name: str
    kind: str
    initial: str
    unit: str


@dataclass(frozen=True)
class Description:
    """What people need to know to use an entry of the registry."""

    kind: str
    name: str
    python: str
    summary: str
    equation: tuple[str, ...]
    reference: str
    states: tuple[State, ...]
    keywords: tuple[Keyword, ...]


def describe(name: str) -> tuple[Description, ...]:
    """Describe every neuron, connection and learning rule of a name: the registered name or that of the class.

    Raises InvalidInput, with the known names, for an unknown name.
    """
    wanted = name.lower().replace("_", "-")
    found = [
        _description(kind, registered, entry)
        for kind, registry in KINDS.items()
        for registered, entry in registry.entries.items()
        if wanted in (registered, entry.attribute.lower())
    ]
    if not found:
        known = dict.fromkeys(name for registry in KINDS.values() for name in registry)
        raise unknown("neuron, connection or learning rule", name, known)
    return tuple(found)


def _description(kind: str, name: str, entry: Entry) -> Description:
    cls = entry.load()
    docs = [inspect.getdoc(cls) or "", *(inspect.cleandoc(base.__doc__ or "") for base in cls.__mro__[1:])]
    return Description(
        kind=kind,
        name=name,
        python=entry.place.replace(":", "."),
        summary=_summary(docs[0]),
        equation=next(filter(None, map(_equation, docs)), ()),
        reference=next(filter(None, map(_reference, docs)), ""),
        states=tuple(State(spec.name, spec.kind or "", spec.initial, spec.unit) for spec in getattr(cls, "STATES", ())),
        keywords=tuple(_keywords(cls, docs)),
    )


def _summary(doc: str) -> str:
    """The prose of a docstring, without its sections."""
    paragraphs = [part for part in doc.split("\n\n") if not HEADING.match(part)]
    return "\n\n".join(re.sub(r" Arguments: those of \w+\.$", "", _plain(part)) for part in paragraphs)


def _equation(doc: str) -> tuple[str, ...]:
    """The lines of the section ``Equation``; without one, the equations in the prose."""
    section = _section(doc, "Equation")
    if section:
        return tuple(section)
    prose = " ".join(" ".join(part.split()) for part in doc.split("\n\n") if not HEADING.match(part))
    return tuple(span for span in re.findall(r"``([^`]+)``", prose) if re.match(r"\w+ = |[wze] [-+*] ", span))


def _section(doc: str, heading: str) -> list[str]:
    lines = doc.splitlines()
    if f"{heading}:" not in lines:
        return []
    after = lines[lines.index(f"{heading}:") + 1 :]
    end = next((place for place, line in enumerate(after) if not line.startswith(" ")), len(after))
    return [line.strip() for line in after[:end]]


def _reference(doc: str) -> str:
    found = REFERENCE.search(" ".join(doc.split()))
    if found is None:
        return ""
    written = f"{found['authors']} {found['year']}"
    return f"{written}, {found['doi']}" if found["doi"] else written


def _arguments(doc: str) -> dict[str, str]:
    """The sections ``Args`` of a docstring, by the names of the arguments. An item may describe several."""
    found = {}
    items = ARGUMENT.split(" ".join(_section(doc, "Args")))[1:]
    for names, about in zip(items[::2], items[1::2], strict=True):
        for name in names.split(", "):
            found[name] = _plain(about).strip()
    return found


def _plain(text: str) -> str:
    """Prose without the marks of a docstring, on one line."""
    return re.sub(r":(?:class|meth|func):`([^`]+)`", r"\1", " ".join(text.split())).replace("``", "")


def _keywords(cls: type, docs: list[str]) -> list[Keyword]:
    """The keywords of a class, its own before those of its base classes."""
    arguments = [_arguments(doc) for doc in docs]
    found = []
    for name, default in _parameters(cls).items():
        depth, about = next(((depth, own[name]) for depth, own in enumerate(arguments) if name in own), (len(docs), ""))
        found.append((depth, Keyword(name, default, _unit(default, about), about)))
    return [keyword for _, keyword in sorted(found, key=lambda pair: pair[0])]


def _parameters(cls: type) -> dict[str, Any]:
    """The keywords of a constructor, with those of its ``**options``, and their defaults."""
    found: dict[str, Any] = {}
    passed_on: list[str] = []
    for parameter in _signature(cls).values():
        if parameter.kind is parameter.VAR_KEYWORD:
            passed_on = [name for options in get_args(parameter.annotation) for name in options.__annotations__]
        else:
            found[parameter.name] = REQUIRED if parameter.default is parameter.empty else parameter.default
    return found | {name: value for name, value in _defaults(cls, passed_on).items() if name not in found}


def _signature(cls: type) -> dict[str, inspect.Parameter]:
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return {parameter.name: parameter for parameter in parameters}


def _defaults(cls: type, names: list[str]) -> dict[str, Any]:
    """The defaults of keywords that the constructor passes on: a base class's, or the value in a new object."""
    if not names:
        return {}
    limits = {"wmin": 0.0, "wmax": 1.0}
    try:
        new, required = (cls(1) if "n" in _signature(cls) else cls()), set()
    except InvalidInput:  # a rule that has no meaning without limits
        new, required = cls(**limits), set(limits)
    found: dict[str, Any] = {}
    for name in names:
        own = next((base[name] for base in map(_signature, cls.__mro__[:-1]) if name in base), None)
        if name in required:
            found[name] = REQUIRED
        elif own is not None and own.default is not own.empty:
            found[name] = own.default
        else:
            found[name] = _plain_value(getattr(new, name))
    return found


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    number = float(f"{float(value):.7g}")
    return number if math.isfinite(number) else str(number)  # JSON has no infinity


def _unit(default: Any, about: str) -> str:
    if isinstance(default, bool):
        return "true or false"
    if isinstance(default, str) and default not in (REQUIRED, "inf", "-inf"):
        return "a name"
    found = UNIT.search(about)
    return found[1] if found else "1"
