"""Hostile and damaged files are rejected with a one-line error, and no code in them is executed."""

import io
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet import read_bindsnet

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture)
from . import bindsnet_networks as build

Command = Callable[..., tuple[int, str, str]]
GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def valid_file(peer: object, tmp_path_factory: pytest.TempPathFactory) -> bytes:  # noqa: ARG001, F811
    """The bytes of a valid BindsNET file."""
    torch.manual_seed(8)
    path = tmp_path_factory.mktemp("good") / "net.pt"
    torch.save(build.diehl_and_cook(), path)
    read_bindsnet(path, {})
    return path.read_bytes()


@contextmanager
def limited_memory() -> Iterator[None]:
    """Limit the memory of this process inside the block, so that allocating gigabytes fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIGABYTE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def repacked(data: bytes, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Rewrite a zip archive; ``change(name, bytes)`` returns the new bytes of each entry."""
    built = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(built, "w", compression) as copy:
        for name in archive.namelist():
            copy.writestr(name, change(name, archive.read(name)))
    return built.getvalue()


def with_pickle(data: bytes, pickled: bytes) -> bytes:
    return repacked(data, lambda name, held: pickled if name.endswith("data.pkl") else held)


def rejected(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as error, limited_memory():
        read_bindsnet(path, {})
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


class Shell:
    """An object whose pickle runs a shell command when it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        import os

        return os.system, (self.command,)


def getattr_chain(canary: Path) -> bytes:
    """A pickle of ``getattr(getattr(Network, "__init__"), "__globals__")["os"].system(...)``, as far as opcodes allow."""
    get = b"c__builtin__\ngetattr\n"
    text = f"touch {canary}".encode()
    network = b"cbindsnet.network.network\nNetwork\n"
    step = get + b"(" + get + b"(" + network + b"X\x08\x00\x00\x00__init__tRX\x0b\x00\x00\x00__globals__tR"
    return b"\x80\x02" + step + b"(X" + struct.pack("<I", len(text)) + text + b"tR."


def test_calls_are_not_executed(valid_file: bytes, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    system = pickle.dumps(Shell(f"touch {canary}"), protocol=2)
    evaluated = b"\x80\x02c__builtin__\neval\nX\x0d\x00\x00\x00open('x','w')\x85R."
    imported = b"\x80\x02cimportlib\nimport_module\nX\x02\x00\x00\x00os\x85R."
    for pickled in (system, evaluated, imported):
        assert "asks for" in rejected(with_pickle(valid_file, pickled), tmp_path / "net.pt")
    assert "damaged" in rejected(with_pickle(valid_file, getattr_chain(canary)), tmp_path / "net.pt")
    # The same call in place of a layer's name, in an otherwise valid network.
    inside = repacked(valid_file, lambda _, held: held.replace(b"X\x01\x00\x00\x00X", system[2:-1], 1))
    assert "asks for" in rejected(inside, tmp_path / "net.pt")
    for alone in (system, pickle.dumps(Shell(f"touch {canary}"))):
        assert "is not a file of torch.save" in rejected(alone, tmp_path / "net.pt")
    assert list(tmp_path.iterdir()) == [tmp_path / "net.pt"]


NETWORK = b"cbindsnet.network.network\nNetwork\n)\x81"
FLOAT64 = b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R"
NO_BYTES = b"c_codecs\nencode\nX\x00\x00\x00\x00X\x06\x00\x00\x00latin1\x86R"
ARRAY = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R%b" + FLOAT64 + b"\x89" + NO_BYTES + b"tb."
"""The pickle of an array without data; its shape is filled in below."""
HOSTILE = {
    "build on a dictionary": b"\x80\x02}}b.",
    "build on a class": b"\x80\x02cbindsnet.network.network\nNetwork\n}b.",
    "a state that is no dictionary": b"\x80\x02" + NETWORK + b"K\x01b.",
    "a call of what was built": b"\x80\x02" + NETWORK + b")R.",
    "a call with no tuple": b"\x80\x02cbindsnet.network.network\nNetwork\nK\x01R.",
    "a key that hashes for ever": b"\x80\x02})" + b"\x85" * 500_000 + b"K\x01s.",
    "a memo of gigabytes": b"\x80\x02]r\xff\xff\xff\x7fb.",
    "text of gigabytes": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "a number of gigabytes": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "below the stack": b"\x80\x02" + b"0" * 10 + b".",
    "a mark that is missing": b"\x80\x02t.",
    "an empty stack": b"\x80\x02.",
    "no end": b"\x80\x02}",
    "bytearrays": pickle.dumps(bytearray(9), protocol=5),
    "a bytearray of gigabytes": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "a tensor of gigabytes": b"\x80\x02ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R.",
    "a numpy array of gigabytes": ARRAY % b"(K\x01J\xff\xff\xff\x7f\x85",
    "a numpy array of objects": ARRAY.replace(b"f8", b"O8") % b"(K\x01)",
    "a registered extension": b"\x80\x02\x82\x01.",
    "an old class": b"\x80\x02(ios\nsystem\n.",
    "an id of a file's": b"\x80\x02]Q.",
    "nothing": b"",
}
WORD = {name: b"X" + struct.pack("<I", len(name)) + name.encode() for name in ("layers", "connections", "dt", "X")}
HOLDING = NETWORK + b"q\x00}q\x01(" + WORD["dt"] + b"K\x01" + WORD["connections"] + b"}" + WORD["layers"]
RECURSIVE = {
    "layers that hold themselves": HOLDING + b"h\x01ub.",
    "a layer that is its network": HOLDING + b"}" + WORD["X"] + b"h\x00sub.",
    "a list in itself": HOLDING + b"]q\x02h\x02aub.",
    "a tuple's key in a list in itself": HOLDING + b"}]q\x02h\x02a\x85K\x01sub.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_opcodes(name: str, valid_file: bytes, tmp_path: Path) -> None:
    assert "pickle" in rejected(with_pickle(valid_file, HOSTILE[name]), tmp_path / "net.pt")


@pytest.mark.parametrize("name", RECURSIVE)
def test_recursive_graphs(name: str, valid_file: bytes, tmp_path: Path) -> None:
    rejected(with_pickle(valid_file, b"\x80\x02" + RECURSIVE[name]), tmp_path / "net.pt")


def test_files_that_claim_gigabytes(valid_file: bytes, tmp_path: Path) -> None:
    """Files that claim gigabytes are rejected: a storage larger than its entry, a repeated number, compressed entries."""
    path = tmp_path / "net.pt"
    count = b"M\x00\x05t"  # 1280 numbers: the weights of 64 by 20
    claim = repacked(valid_file, lambda _, held: held.replace(count, b"J\x00\x00\x00\x10t"))
    assert "claims 1073741824 bytes" in rejected(claim, path)
    size = b"K@K\x14\x86"
    assert valid_file.count(size)
    wide = repacked(valid_file, lambda _, held: held.replace(size, b"J\x00\x00\x01\x00J\x00\x00\x01\x00\x86", 1))
    assert "lies outside" in rejected(wide, path)
    strides = b"K\x14K\x01\x86"
    repeated = repacked(wide, lambda _, held: held.replace(strides, b"K\x00K\x00\x86"))
    assert "claim more elements" in rejected(repeated, path)
    bomb = repacked(
        valid_file, lambda name, held: bytes(GIGABYTE // 8) if name.endswith("/data/0") else held, zipfile.ZIP_DEFLATED
    )
    assert "packed entries" in rejected(bomb, path)


def test_invalid_sparse_tensors(peer: object, tmp_path: Path) -> None:  # noqa: ARG001, F811
    """Sparse tensors are rejected if their shape is not that of the layers, or an index is outside."""
    network, nodes, topology = build.part("network").Network(), build.part("network.nodes"), build.part("network.topology")
    X, Y = nodes.Input(n=5), nodes.LIFNodes(n=6)
    network.add_layer(X, "X")
    network.add_layer(Y, "Y")
    network.add_connection(topology.SparseConnection(X, Y, w=torch.ones(5, 6).to_sparse()), "X", "Y")
    torch.save(network, tmp_path / "net.pt")
    whole, size = (tmp_path / "net.pt").read_bytes(), b"K\x05K\x06\x86"
    read_bindsnet(tmp_path / "net.pt", {})
    wide = repacked(whole, lambda _, held: held.replace(size, b"J\x00\x00\x00\x40J\x00\x00\x00\x40\x86"))
    assert "expected [5, 6]" in rejected(wide, tmp_path / "net.pt")
    narrow = repacked(whole, lambda _, held: held.replace(size, b"K\x05K\x02\x86"))
    assert "a sparse tensor is damaged" in rejected(narrow, tmp_path / "net.pt")


def test_other_kinds_of_files(valid_file: bytes, tmp_path: Path, exported: Callable) -> None:
    path = tmp_path / "net.pt"
    torch.save(build.diehl_and_cook().layers["Ae"], path)
    assert "holds a DiehlAndCookNodes, and not a network: save the whole network" in rejected(path.read_bytes(), path)
    bundle = exported("lif", n=6).path
    assert "TorchScript" in rejected((bundle / "model.pt").read_bytes(), path)
    assert "no data.pkl" in rejected((bundle / "model.pt2").read_bytes(), path)
    for data in (b"", b"hello", b"PK", b"PK\x03\x04" + bytes(100), bytes(1000), (bundle / "step.onnx").read_bytes()):
        rejected(data, path)
    big = repacked(valid_file, lambda name, held: b"big" if name.endswith("byteorder") else held)
    assert "big-endian" in rejected(big, path)
    with pytest.raises(InvalidInput, match="does not exist"):
        read_bindsnet(tmp_path / "none.pt", {})
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_bindsnet(tmp_path, {})


def test_one_line_error_on_the_command_line(valid_file: bytes, tmp_path: Path, command: Command) -> None:
    canary = tmp_path / "canary"
    hostile = tmp_path / "net.pt"
    hostile.write_bytes(with_pickle(valid_file, pickle.dumps(Shell(f"touch {canary}"), protocol=2)))
    for arguments in (("import", hostile), ("export", hostile, "-o", tmp_path / "bundle"), ("parity", hostile)):
        status, _, error = command(*arguments)
        assert status == 2
        assert error.startswith("deploy-snn: ")
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [hostile]


settings.register_profile("files", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(settings.get_profile("files"), max_examples=60)
@given(place=st.integers(0, 1 << 20))
def test_truncated_files(place: int, valid_file: bytes, tmp_path: Path) -> None:
    rejected(valid_file[: place % len(valid_file)], tmp_path / "net.pt")
    older = io.BytesIO()
    torch.save(build.diehl_and_cook(), older, _use_new_zipfile_serialization=False)
    rejected(older.getvalue()[: place % len(older.getvalue())], tmp_path / "net.pt")


# Without the filter, Hypothesis reports the size of the fixture's bytes instead of the failure.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(settings.get_profile("files"), max_examples=400)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
@example(changes=[(856, 0)])  # a text with an unknown escape, of which pickletools warns
def test_damaged_pickles(changes: list[tuple[int, int]], valid_file: bytes, tmp_path: Path) -> None:
    """A pickle with a few changed bytes is read as a network, or rejected with a one-line error."""
    with zipfile.ZipFile(io.BytesIO(valid_file)) as archive:
        held = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    changed = bytearray(held)
    for place, value in changes:
        changed[place % len(held)] = value
    path = tmp_path / "net.pt"
    path.write_bytes(with_pickle(valid_file, bytes(changed)))
    try:
        with limited_memory():
            read_bindsnet(path, {})
    except InvalidInput as error:
        assert "\n" not in str(error)  # noqa: PT017
