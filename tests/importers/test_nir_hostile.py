"""Files that are not NIR files, or are damaged or hostile, are rejected with a one-line error."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.nir import read_nir

ONES = np.ones(3)
LIF = {"tau": 1e-2 * ONES, "r": ONES, "v_leak": 0 * ONES, "v_threshold": ONES}


def write(path: Path, nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]]) -> Path:
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def valid_file(path: Path) -> Path:
    nodes = {"in": nir.Input([3]), "w": nir.Linear(np.eye(3)), "lif": nir.LIF(**LIF), "out": nir.Output([3])}
    return write(path, nodes, [("in", "w"), ("w", "lif"), ("lif", "out")])


def rejected(path: Path) -> str:
    with pytest.raises(InvalidInput) as message:
        read_nir(path, {"dt": 1})
    sentence = str(message.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def test_valid_file(tmp_path: Path) -> None:
    assert read_nir(valid_file(tmp_path / "good.nir"), {"dt": 1}).network.layers["lif"].shape == (3,)


def test_missing_and_other_files(tmp_path: Path) -> None:
    assert "does not exist" in rejected(tmp_path / "none.nir")
    (tmp_path / "text.nir").write_text("a text")
    assert "is not a NIR file, or it is damaged" in rejected(tmp_path / "text.nir")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["layer/kernel"] = ONES
    assert "no group 'node'" in rejected(tmp_path / "weights.h5")
    nir.write(tmp_path / "single.nir", nir.LIF(**LIF))
    assert "holds a single LIF" in rejected(tmp_path / "single.nir")


def test_truncated_files(tmp_path: Path) -> None:
    whole = valid_file(tmp_path / "whole.nir").read_bytes()
    for length in range(0, len(whole) - 1, len(whole) // 25):
        (tmp_path / "cut.nir").write_bytes(whole[:length])
        rejected(tmp_path / "cut.nir")


REPLACEMENTS = [
    np.nan,
    -np.inf,
    1e300,
    -1,
    0,
    2**40,
    True,
    "",
    "a text",
    np.zeros(0),
    np.ones((2, 2, 2, 2)),
    np.array([b"x", b"y"]),
    np.ones(3, np.complex64),
    np.full(3, 1e300),
    h5py.Empty("f8"),
]


def test_replaced_values(tmp_path: Path) -> None:
    """With any value replaced by any other, the file is read as numbers, or rejected with a one-line error."""
    one = (1, 1)
    nodes = {
        "in": nir.Input([1, 4, 4]),
        "conv": nir.Conv2d((4, 4), np.ones((2, 1, 2, 2)), one, (0, 0), one, 1, np.zeros(2)),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array(one), np.array([0, 0])),
        "flat": nir.Flatten(np.array([2, 2, 2]), 0, -1),
        "w": nir.Affine(np.ones((3, 8)), ONES),
        "cuba": nir.CubaLIF(tau_syn=1e-2 * ONES, tau_mem=1e-2 * ONES, r=ONES, v_leak=0 * ONES, v_threshold=ONES),
        "late": nir.Delay(2e-3 * ONES),
        "out": nir.Output([3]),
    }
    path = write(tmp_path / "good.nir", nodes, list(pairwise(nodes)))
    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    refusals = 0
    for name in (name for name in names if name != "version"):
        for value in REPLACEMENTS:
            bad = tmp_path / "bad.nir"
            bad.write_bytes(path.read_bytes())
            with h5py.File(bad, "a") as file:
                del file[name]
                file[name] = value
            try:
                read_nir(bad, {"dt": 1})
            except InvalidInput:
                refusals += 1
    assert refusals > 5 * len(names)


def with_file(change: Callable[[h5py.File], object]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with h5py.File(valid_file(path), "a") as file:
            change(file)
        return path

    return make


def replaced(name: str, value: object) -> Callable[[Path], Path]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return with_file(change)


def external(file: h5py.File) -> None:
    del file["node/nodes/w/weight"]
    file["node/nodes/w"].create_dataset("weight", (3, 3), "f8", external=[("/etc/passwd", 0, 72)])


def virtual(file: h5py.File) -> None:
    del file["node/nodes/w/weight"]
    layout = h5py.VirtualLayout((3, 3), "f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "w", (3, 3))
    file["node/nodes/w"].create_virtual_dataset("weight", layout)


def huge_shape(file: h5py.File) -> None:
    del file["node/nodes/w/weight"]
    file["node/nodes/w"].create_dataset("weight", (2**20, 2**20), "f8", chunks=(16, 16))


def with_link(link: object) -> Callable[[Path], Path]:
    return with_file(lambda file: file["node/nodes"].__setitem__("other", link))


def recursive_link(file: h5py.File) -> None:
    file["node/nodes/inner"] = file["node"]


def nested_links(file: h5py.File) -> None:
    """25 nested groups, each linked twice in its parent: a few kilobytes that unfold to 30 million entries."""
    group = file["node/nodes"].create_group("deep")
    for _ in range(25):
        group["b"] = group.create_group("a")
        group = group["a"]


FILES = [
    (
        replaced("node/nodes/lif/type", "Hodgkin"),
        "node 'lif' is of type 'Hodgkin', which NIR does not define; choose from Affine",
    ),
    (replaced("node/nodes/lif/type", "NIRNode"), "is of type 'NIRNode'"),
    (replaced("node/nodes/lif/type", 7), "is of type"),
    (with_file(lambda file: file.__delitem__("node/nodes/lif/type")), "node 'lif' is of type None"),
    (with_file(lambda file: file.__delitem__("node/nodes/lif/tau")), "node 'lif' is not a valid LIF: "),
    (replaced("node/nodes/lif/tau", "fast"), "node 'lif' is not a valid LIF: "),
    (replaced("node/nodes/lif/tau", np.ones(4)), "node 'lif' is not a valid LIF: All parameters must have the same shape"),
    (replaced("node/nodes/lif/tau", 0 * ONES), "node 'lif' (LIF): a time constant is not greater than 0"),
    (replaced("node/nodes/lif/r", ONES * np.nan), "node 'lif' (LIF): r holds NaN"),
    (replaced("node/nodes/lif/r", ONES * np.inf), "node 'lif' (LIF): its resistance and time constant give no finite gain"),
    (
        replaced("node/nodes/w/weight", np.full((3, 3), np.nan)),
        "node 'w' (Linear): w must be finite, but holds NaN or an infinity",
    ),
    (replaced("node/nodes/w/weight", np.ones((3, 3, 3))), "node 'w' (Linear): its weight is [3, 3, 3]"),
    (
        replaced("node/nodes/w/weight", np.ones((3, 4))),
        "node 'w' (Linear): its weight takes 4 values, and what reaches it is [3]",
    ),
    (
        replaced("node/nodes/w/weight", np.ones((4, 3))),
        "node 'lif' (LIF): its parameters are [3], and what reaches it is [4]",
    ),
    (replaced("node/nodes/in/shape", np.array([-3])), "node 'in' (Input): it has no shape that a layer can have"),
    (replaced("node/nodes/in/shape", np.array([2.5])), "node 'in' (Input): it has no shape that a layer can have"),
    (with_file(lambda file: file.__delitem__("node/edges")), "the graph is not a valid NIRGraph: it lacks 'edges'"),
    (with_file(lambda file: file.__delitem__("node/nodes")), "the graph has no nodes"),
    (replaced("node/nodes", ONES), "the graph has no nodes"),
    (
        replaced("node/edges", np.array([["in", "w", "lif"]], dtype=object)),
        "the graph is not a valid NIRGraph: too many values",
    ),
    (with_file(external), "/node/nodes/w/weight keeps its values elsewhere, where nothing is read"),
    (with_file(virtual), "/node/nodes/w/weight keeps its values elsewhere"),
    (with_file(huge_shape), "/node/nodes/w/weight claims more values than a file of this size can hold"),
    (with_link(h5py.SoftLink("/node/nodes/w")), "/node/nodes/other is a link to elsewhere, which is not followed"),
    (with_link(h5py.ExternalLink("other.nir", "/node")), "/node/nodes/other is a link to elsewhere"),
    (with_file(nested_links), "claims more values than a file of this size can hold"),
    (with_file(recursive_link), "nests groups deeper than 32: a graph that contains itself?"),
]


@pytest.mark.parametrize(("make", "sentence"), FILES)
def test_invalid_files(make: Callable[[Path], Path], sentence: str, tmp_path: Path) -> None:
    assert sentence in rejected(make(tmp_path / "bad.nir"))


def conv(size: int, padding: int | str = 0) -> nir.Conv2d:
    return nir.Conv2d((4, 4), np.ones((1, 1, size, size)), 1, padding, 1, 1, np.zeros(1))


IN, OUT, SCALE = nir.Input([3]), nir.Output([3]), nir.Scale(ONES)
GRAPHS = [
    (
        {"in": IN, "out": OUT},
        [("in", "ghost"), ("in", "out")],
        "the edge in -> ghost leads to or from an unknown node 'ghost'",
    ),
    ({"lif": nir.LIF(**LIF), "out": OUT}, [("lif", "out")], "the graph has no Input node"),
    ({"in": IN, "lif": nir.LIF(**LIF), "out": OUT}, [("in", "out")], "nothing leads to node 'lif'"),
    ({"in": IN, "w": SCALE, "lif": nir.LIF(**LIF)}, [("w", "lif")], "nothing leads to node 'w'"),
    (
        {"in": IN, "a": SCALE, "b": nir.Scale(2 * ONES), "lif": nir.LIF(**LIF)},
        [("in", "a"), ("a", "b"), ("b", "a"), ("b", "lif")],
        "a loop without neurons: ",
    ),
    ({"in": IN, "lif": nir.LIF(**LIF)}, [("in", "lif"), ("lif", "in")], "goes into an input of the graph"),
    (
        {"in": IN, "out": OUT, "lif": nir.LIF(**LIF)},
        [("in", "lif"), ("lif", "out"), ("out", "lif")],
        "the edge out -> lif goes into an input of the graph, or out of an output",
    ),
    (
        {"in": IN, "g": nir.NIRGraph({"x": IN, "y": nir.Input([3]), "z": OUT}, [], type_check=False), "out": OUT},
        [("in", "g"), ("g", "out")],
        "the inner graph 'g' has 2 Input nodes, and an edge can only mean one",
    ),
    ({"in": IN, "d": nir.Delay(1.5e-3 * ONES)}, [("in", "d")], "node 'd' (Delay): delays must be whole"),
    ({"in": IN, "d": nir.Delay(-1e-3 * ONES)}, [("in", "d")], "node 'd' (Delay): delays must be whole"),
    (
        {"in": IN, "a": SCALE, "b": nir.Linear(np.ones((4, 3))), "lif": nir.LIF(**LIF)},
        [("in", "a"), ("a", "lif"), ("in", "b"), ("b", "lif")],
        "in -> b gives [4], and 'lif' takes [3]",
    ),
    (
        {"in": nir.Input([1, 4, 4]), "c": conv(2, padding="same"), "out": OUT},
        [("in", "c"), ("c", "out")],
        "node 'c' (Conv2d): padding 'same' of a kernel [2, 2] with stride [1, 1] is not the same on all sides",
    ),
    (
        {"in": nir.Input([1, 4, 4]), "c": conv(5), "out": OUT},
        [("in", "c"), ("c", "out")],
        "node 'c' (Conv2d): its field of [5, 5] is larger than what reaches it, [4, 4]",
    ),
    (
        {"in": nir.Input([2, 4, 4]), "c": conv(2), "out": OUT},
        [("in", "c"), ("c", "out")],
        "the source has 2 channels; w [1, 1, 2, 2] needs 1",
    ),
    (
        {"in": IN, "p": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), "out": OUT},
        [("in", "p"), ("p", "out")],
        "node 'p' (SumPool2d): it pools [channels, height, width], and what reaches it is [3]",
    ),
    (
        {"in": IN, "f": nir.Flatten(np.array([3]), 1, -1), "out": OUT},
        [("in", "f"), ("f", "out")],
        "node 'f' (Flatten): it flattens axes 1 to -1",
    ),
    ({"in": IN, "s": nir.Scale(np.ones(2)), "out": OUT}, [("in", "s"), ("s", "out")], "node 's' (Scale): its scale is [2]"),
]


@pytest.mark.parametrize(("nodes", "edges", "sentence"), GRAPHS)
def test_invalid_graphs(nodes: dict[str, nir.NIRNode], edges: list[tuple[str, str]], sentence: str, tmp_path: Path) -> None:
    assert sentence in rejected(write(tmp_path / "bad.nir", nodes, edges))
