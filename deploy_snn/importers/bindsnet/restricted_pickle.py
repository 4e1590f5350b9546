"""A reader of pickles that executes no code: it builds plain data and records, and rejects everything else.

Python's own unpickler calls the functions that a pickle names. This reader supports only the opcodes that ``torch.save``
writes, and only the names in a list of its caller. It has no other way to create or change an object.

``torch.load(weights_only=True)`` with stand-in classes (torch 2.13) runs no code either, but it cannot replace this reader:
a deeply nested tuple as a dictionary's key crashes the process (SIGSEGV), ``bytearray(n)`` and ``torch.FloatTensor(n)`` in
a pickle of 50 bytes allocate n elements, zip entries are decompressed before their size is checked, and a tensor of
stride 0 may claim any size. It also cannot read a network in the format that torch used before zip files, loads big-endian
and self-containing files, and reports damage as six types of exceptions, often in six lines.
"""

import pickletools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet.saved import Name, Record, Saved

Maker = Callable[..., Any]
KEYS = (str, int, float)


class UnknownClass(InvalidInput):
    """A pickle names a class or a function that is not in the reader's list.

    ``name`` is the first unknown name, and ``names`` are all names in the pickle.
    """

    def __init__(self, message: str, name: Name, names: frozenset[Name] = frozenset()) -> None:
        super().__init__(message)
        self.name = name
        self.names = names


def read_pickle(file: BinaryIO, makers: Mapping[Name, Maker], persistent: Callable[[Any], Any], where: str) -> Any:
    """Read the pickle that starts at the file's position, and move the position to its end.

    ``makers`` maps each allowed name to a function that creates its record from the arguments. ``persistent`` resolves the
    persistent ids of the pickle. Raises InvalidInput, naming ``where``, for anything else.
    """
    machine = _Machine(makers, persistent)
    opcodes = pickletools.genops(file)
    # pickletools warns of a text with an unknown escape, such as "\h", and reads it as it stands.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _run(machine, opcodes, where)


def _run(machine: "_Machine", opcodes: Iterable[Any], where: str) -> Any:
    try:
        for opcode, argument, _ in opcodes:
            if opcode.name == "STOP":
                return machine.pop()
            machine.run(opcode.name, argument)
    except UnknownClass as error:
        raise UnknownClass(f"{where}: {error}", error.name, machine.names | _names_in(opcodes)) from None
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    except (ValueError, TypeError, IndexError, KeyError):
        pass  # cut short, or opcodes that do not fit together
    raise InvalidInput(f"{where}: its pickle is damaged")


def _names_in(opcodes: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> frozenset[Name]:
    """The classes and functions that the rest of a pickle names, as far as it can be read."""
    found = set()
    try:
        for opcode, argument, _ in opcodes:
            if opcode.name == "GLOBAL":
                found.add(_name(argument))
    except ValueError:
        pass
    return frozenset(found)


def _name(argument: str) -> Name:
    module, _, name = argument.partition(" ")
    return Name({"__builtin__": "builtins"}.get(module, module), name)


class _Machine:
    """The stack and the memo of the pickle machine."""

    def __init__(self, makers: Mapping[Name, Maker], persistent: Callable[[Any], Any]) -> None:
        self.makers = makers
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.names: frozenset[Name] = frozenset()

    def run(self, opcode: str, argument: Any) -> None:
        if opcode not in _OPCODES:
            raise InvalidInput(f"its pickle uses {opcode}, which torch.save does not write")
        _OPCODES[opcode](self, argument)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if self.marks and self.marks[-1] == len(self.stack):
            raise IndexError
        return self.stack.pop()

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def global_(self, argument: str) -> None:
        found = _name(argument)
        self.names |= {found}
        if found not in self.makers:
            shown = str(found)[:100]
            raise UnknownClass(
                f"its pickle asks for {shown!r}, which cannot be read without running code; nothing was run", found
            )
        self.push(found)

    def reduce(self) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise TypeError
        self.push(self.makers[name](*arguments))

    def newobj(self) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, Name) or arguments != ():
            raise TypeError
        record = self.makers[name]()
        if not isinstance(record, Saved):
            raise TypeError
        self.push(record)

    def build(self) -> None:
        state, built = self.pop(), self.stack[-1]
        if isinstance(built, OrderedDict):
            return  # a state_dict's _metadata
        if not isinstance(built, Record):
            raise TypeError
        built.set_state(state)

    def append(self, values: list[Any]) -> None:
        held = self.stack[-1]
        if not isinstance(held, list):
            raise TypeError
        held.extend(values)

    def set_items(self, values: list[Any]) -> None:
        held = self.stack[-1]
        if not isinstance(held, dict):
            raise TypeError
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Anything deeper could exhaust the C stack when it is hashed.
            if not isinstance(key, KEYS) and not (isinstance(key, tuple) and all(isinstance(part, KEYS) for part in key)):
                raise TypeError
            held[key] = value

    def last(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]


_OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda _machine, _argument: None,
    "MARK": lambda machine, _: machine.mark(),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "APPEND": lambda machine, _: machine.append(machine.last(1)),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "GLOBAL": lambda machine, argument: machine.global_(argument),
    "REDUCE": lambda machine, _: machine.reduce(),
    "NEWOBJ": lambda machine, _: machine.newobj(),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.pop())),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, index: machine.put(index)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    **dict.fromkeys(
        ("BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), lambda machine, value: machine.push(value)
    ),
}
