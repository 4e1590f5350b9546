"""Reading NIR's HDF5 files as a graph of NIR nodes, without following links out of the file or trusting claimed sizes."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.importers.advice import COPY_WEIGHTS

if TYPE_CHECKING:
    import h5py
    from nir import NIRGraph, NIRNode

KERAS_GROUPS = ("model_weights", "optimizer_weights", "layers", "_layer_checkpoint_dependencies")
"""Groups at the root of a file that Keras wrote."""

DEEPEST = 32
"""How deep groups may be nested."""

SMALLEST_CLAIM = 2**20
MOST_COMPRESSED = 1100
"""The largest ratio of claimed size to file size. HDF5's gzip compresses at most 1032 to 1."""
COST = 2**10
"""The least size that is counted for an entry, in bytes, since a few links can repeat an entry any number of times."""

Tree = dict[str, Any]


def require_nir() -> None:
    """Raise Unavailable, with the install command, if the extra is not installed."""
    try:
        import h5py  # noqa: F401, PLC0415
        import nir  # noqa: F401, PLC0415
    except ImportError as error:
        raise Unavailable(
            f"NIR files need {error.name}: install the extra 'nir' of deploy-snn (in its folder: pip install '.[nir]')"
        ) from None


def read_graph(path: Path) -> "NIRGraph":
    """The graph in a NIR file. Raises InvalidInput for any other file, and for invalid nodes."""
    require_nir()
    import h5py  # noqa: PLC0415
    import nir  # noqa: PLC0415

    if not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    budget = [max(SMALLEST_CLAIM, MOST_COMPRESSED * path.stat().st_size)]
    try:
        with h5py.File(path, "r") as file:
            root = file.get("node")
            tree = _tree(root, path, DEEPEST, budget) if isinstance(root, h5py.Group) else None
            is_keras = "keras_version" in file.attrs or any(name in file for name in KERAS_GROUPS)
    except InvalidInput:
        raise
    except (
        KeyError,
        MemoryError,
        OSError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # the errors of h5py for damaged files
        raise InvalidInput(f"{path} is not a NIR file, or it is damaged: {first_line(error)}") from None
    if tree is None and is_keras:
        raise InvalidInput(f"{path} is a Keras file, and not a NIR file: {COPY_WEIGHTS}")
    if tree is None:
        raise InvalidInput(f"{path} is an HDF5 file, but not a NIR file (it has no group 'node'): give a file of nir.write")
    node = _node(tree, path, "the graph")
    if not isinstance(node, nir.NIRGraph):
        raise InvalidInput(f"{path} holds a single {type(node).__name__}, and not a NIRGraph of nodes and edges")
    return node


def _tree(group: "h5py.Group", path: Path, depth: int, budget: list[int]) -> Tree:
    """A group's contents as dictionaries and arrays. ``budget`` is the number of bytes that they may still take."""
    import h5py  # noqa: PLC0415

    if depth == 0:
        raise InvalidInput(f"{path} nests groups deeper than {DEEPEST}: a graph that contains itself?")
    tree: Tree = {}
    for name in (_name(name, path) for name in group):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise InvalidInput(f"{path}: {group.name}/{name} is a link to elsewhere, which is not followed")
        item = group[name]
        budget[0] -= COST + (item.nbytes if isinstance(item, h5py.Dataset) else 0)
        if budget[0] < 0:
            raise InvalidInput(f"{path}: {item.name} claims more values than a file of this size can hold")
        if isinstance(item, h5py.Group):
            tree[name] = _tree(item, path, depth - 1, budget)
            continue
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise InvalidInput(f"{path}: {item.name} keeps its values elsewhere, where nothing is read")
        if item.dtype.kind not in "fiubSO":
            raise InvalidInput(f"{path}: {item.name} holds neither real numbers nor text, but {item.dtype}")
        value = item[()]
        tree[name] = value.decode() if isinstance(value, bytes) else None if isinstance(value, h5py.Empty) else value
    return tree


def _node(tree: Tree, path: Path, where: str) -> "NIRNode":
    """A node; for a graph, with all its nodes."""
    import nir  # noqa: PLC0415

    kind = tree.get("type")
    known = {name for name in nir.ir.__all__ if name[0].isupper() and name != "NIRNode"}
    if not isinstance(kind, str) or kind not in known:
        found = reprlib.repr(kind) if isinstance(kind, str | None) else type(kind).__name__
        raise InvalidInput(
            f"{path}: {where} is of type {found}, which NIR does not define; choose from {', '.join(sorted(known))}"
        )
    try:
        if kind == "NIRGraph":
            nodes = {name: _node(inner, path, f"node '{name}'") for name, inner in _groups(tree, path, where).items()}
            edges = [(_name(source, path), _name(target, path)) for source, target in tree["edges"]]
            return nir.NIRGraph(nodes=nodes, edges=edges, metadata=tree.get("metadata", {}), type_check=False)
        with np.errstate(all="ignore"):  # nir computes shapes from unchecked values; we compute and check them again
            return nir.dict2NIRNode(dict(tree))
    except (AssertionError, AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        problem = f"it lacks {error}" if isinstance(error, KeyError) else first_line(error)
        raise InvalidInput(f"{path}: {where} is not a valid {kind}: {problem}") from None


def _groups(tree: Tree, path: Path, where: str) -> Mapping[str, Tree]:
    nodes = tree.get("nodes")
    if not isinstance(nodes, dict) or not all(isinstance(inner, dict) for inner in nodes.values()):
        raise InvalidInput(f"{path}: {where} has no nodes")
    return nodes


def _name(value: object, path: Path) -> str:
    """A name that is safe to print: without line breaks and terminal control characters."""
    name = value.decode() if isinstance(value, bytes) else str(value)
    if not name.isprintable():
        raise InvalidInput(f"{path}: something is called {reprlib.repr(name)}: expected printable text")
    return name
