"""Files are recognised by content, not by name; an error says what to do instead."""

import pickle
import struct
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save
from torch import nn

from deploy_snn.eager import to_numpy
from deploy_snn.errors import InvalidInput
from deploy_snn.importers import define, from_bindsnet, load_model, write_nir
from deploy_snn.importers.bindsnet import read_bindsnet
from deploy_snn.network import Network, Sparse
from deploy_snn.neurons import BoostedLIFNodes
from deploy_snn.tensors import write_tensors

from ..network.bindsnet_network import peer  # noqa: F401, TID252  (a fixture)
from . import bindsnet_networks as build
from .test_bindsnet import equal_imports, saved
from .test_hostile_files import limited_memory
from .test_nir_commands import write_lif_graph

Content = Callable[[Path], object]


def torch_file(thing: Callable[[], object], *, older: bool = False) -> Content:
    return lambda path: torch.save(thing(), path, _use_new_zipfile_serialization=not older)


def bytes_of(data: bytes) -> Content:
    return lambda path: path.write_bytes(data)


class Net(nn.Module):
    """A module class of the user, without torch's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, 2))


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def checkpoint() -> dict[str, object]:
    module = linear()
    optimizer = torch.optim.Adam(module.parameters())
    return {"epoch": 3, "optimizer": optimizer.state_dict(), "model": module.state_dict(), "loss": np.float64(0.5)}


def npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, w=np.ones((2, 2)))


def keras_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "3.0"
        file["model_weights/dense/kernel"] = np.ones((2, 2))


def keras_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")


def onnx_model(path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    onnx.load(path)


def script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"net/{name}", b"")


def exported_program(path: Path) -> None:
    torch.export.save(torch.export.export(linear(), (torch.ones(1, 2),)), path.with_suffix(".pt2"))
    path.with_suffix(".pt2").rename(path)


FROM_LINEAR, WRITE_BUILD = "Dense.from_linear", "write a Python file whose build()"
REJECTED: dict[str, tuple[Content, str, str]] = {
    "a state_dict": (torch_file(lambda: linear().state_dict()), "is a state_dict", FROM_LINEAR),
    "an older state_dict": (torch_file(lambda: linear().state_dict(), older=True), "is a state_dict", FROM_LINEAR),
    "a checkpoint": (torch_file(checkpoint), "is a checkpoint, whose 'model' is a state_dict", FROM_LINEAR),
    "a checkpoint with more": (
        torch_file(lambda: checkpoint() | {"path": Path("here")}),
        "its pickle asks for 'pathlib",
        FROM_LINEAR,
    ),
    "a module": (torch_file(linear), "is a pickled torch module (torch.nn.modules.container.Sequential)", FROM_LINEAR),
    "an older module": (torch_file(linear, older=True), "is a pickled torch module", FROM_LINEAR),
    "a module of the user's": (torch_file(Net), "its pickle asks for 'tests.importers.test_recognition.Net'", FROM_LINEAR),
    "a tensor": (torch_file(lambda: torch.ones(2)), "holds one tensor", FROM_LINEAR),
    "a list": (torch_file(lambda: [1, 2]), "holds a list, and not a network", "network.save(FILE)"),
    "a TorchScript file": (script, "is a TorchScript program", "give the Python file"),
    "a torch.export file": (exported_program, "is a torch.export program", "give the Python file"),
    "an npz": (npz, "is an .npz file", WRITE_BUILD),
    "a plain pickle": (bytes_of(pickle.dumps({"w": 1.0})), "is a plain pickle", WRITE_BUILD),
    "an older pickle": (bytes_of(pickle.dumps({"w": 1.0}, protocol=2)), "is a plain pickle", WRITE_BUILD),
    "safetensors": (bytes_of(save({"w": np.ones(2)})), "is a safetensors file", WRITE_BUILD),
    "an ONNX file": (onnx_model, "is an ONNX file", WRITE_BUILD),
    "a Keras HDF5": (keras_h5, "is a Keras file", WRITE_BUILD),
    "a Keras zip": (keras_zip, "is a Keras model", WRITE_BUILD),
    "an empty file": (bytes_of(b""), "is empty", "save the model again"),
    "text": (bytes_of(b"def build():\n    ...\n"), "is text", "a name that ends in .py"),
    "text that a read cuts": (bytes_of("é".encode() * 3000), "is text", "a name that ends in .py"),
    "a zip cut short": (bytes_of(b"PK\x03\x04" + bytes(100)), "is a damaged zip archive", "save it again"),
    "noise": (bytes_of(struct.pack("<8Q", *range(250, 258))), "is of no known format", "importers: bindsnet, nir"),
}


@pytest.mark.parametrize("suffix", [".pt", ".nir", ".dat"])
@pytest.mark.parametrize("name", REJECTED)
def test_rejected_with_advice(name: str, suffix: str, tmp_path: Path) -> None:
    write, what, advice = REJECTED[name]
    path = tmp_path / f"model{suffix}"
    write(path)
    with pytest.raises(InvalidInput) as error:
        load_model(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert what in message
    assert advice in message
    assert "damaged" not in message or "zip" in message
    assert "\n" not in message


def test_recognition_ignores_names(peer: object, tmp_path: Path) -> None:  # noqa: ARG001, F811
    network = build.two_layers()
    for name, older in (("net.nir", False), ("net.h5", True), ("net", False)):
        torch.save(network, tmp_path / name, _use_new_zipfile_serialization=not older)
        loaded = load_model(tmp_path / name)
        assert loaded.program.contract == from_bindsnet(network).network.contract
    write_lif_graph(str(tmp_path / "graph.pt"))
    assert list(load_model(tmp_path / "graph.pt", {"dt": 1.0}).program.layers) == ["in_", "lif"]


def test_numpy_numbers(peer: object, tmp_path: Path) -> None:  # noqa: ARG001, F811
    """numpy scalars and 0-d arrays as parameters give the same network as Python numbers, live and from a file."""
    nodes, topology = build.part("network.nodes"), build.part("network.topology")

    def build_network(number: Callable[[float], object], count: Callable[[int], object]) -> object:
        network = build.part("network").Network(dt=0.5)
        X, Y = nodes.Input(n=3), nodes.LIFNodes(n=3, lbound=-70.25)
        network.add_layer(X, "X")
        network.add_layer(Y, "Y")
        network.add_connection(topology.Connection(X, Y, w=torch.ones(3, 3)), "X", "Y")
        network.dt, Y.lbound, Y.shape = number(0.5), number(-70.25), [count(3)]
        return network

    wanted = from_bindsnet(build_network(float, int))
    for number, count in (
        (np.float64, np.int64),
        (np.float32, np.int32),
        (np.array, np.uint8),
        (lambda value: np.array(value, ">f4"), np.int16),
    ):
        network = build_network(number, count)
        assert equal_imports(from_bindsnet(network), wanted)
        assert equal_imports(read_bindsnet(saved(network, tmp_path / "net.pt"), {}), wanted)


def test_bindsnet_0_2_is_rejected() -> None:
    """A file of an unsupported version is an error that names the version.

    BindsNET 0.2.7 wrote it: ``Network``, ``Input(4, traces=True)``, ``LIFNodes(3)``, ``Connection``.
    """
    with pytest.raises(InvalidInput, match=r"of BindsNET 0\.2, .*build it again with BindsNET 0\.3\.4"):
        load_model(Path(__file__).parent / "bindsnet-0.2.7.pt")


def test_sparse_weights_stay_sparse(peer: object, tmp_path: Path, command: Callable) -> None:  # noqa: ARG001, F811
    """A sparse matrix of 20,000 by 20,000 (1.6 GB if dense) is imported and defined without becoming dense."""
    n, fan_in = 20_000, 10
    generator = torch.Generator().manual_seed(0)
    indices = torch.stack([torch.randint(0, n, (n * fan_in,), generator=generator), torch.arange(n).repeat(fan_in)])
    weights = torch.rand(n * fan_in, generator=generator) + 0.5
    w = torch.sparse_coo_tensor(indices, weights, (n, n), check_invariants=True).coalesce()
    network, nodes, topology = build.part("network").Network(), build.part("network.nodes"), build.part("network.topology")
    X, Y = nodes.Input(n=n), nodes.LIFNodes(n=n, refrac=0)
    network.add_layer(X, "X")
    network.add_layer(Y, "Y")
    network.add_connection(topology.SparseConnection(X, Y, w=w), "X", "Y")
    path = saved(network, tmp_path / "net.pt")
    with limited_memory():
        assert command("import", path, "-o", tmp_path / "mine")[0] == 0
        program = load_model(tmp_path / "mine.py").program
    assert isinstance(program, Network)
    (connection,) = program.connections
    assert isinstance(connection, Sparse)
    found = connection.matrix()
    assert torch.equal(found.indices(), w.indices())
    assert torch.equal(found.values(), w.values())
    assert (tmp_path / "mine.safetensors").stat().st_size < 30 * n * fan_in
    with pytest.raises(InvalidInput, match=r"take 1\.6 GB as a dense matrix"):
        write_nir(program, tmp_path / "net.nir")


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_csr_matrix(peer: object, tmp_path: Path) -> None:  # noqa: ARG001, F811
    dense = torch.tensor([[0.0, 1.5, 0.0], [2.0, 0.0, 0.25], [0.0, 0.0, 0.0]])
    network, nodes, topology = build.part("network").Network(), build.part("network.nodes"), build.part("network.topology")
    X, Y = nodes.Input(n=3), nodes.LIFNodes(n=3)
    network.add_layer(X, "X")
    network.add_layer(Y, "Y")
    network.add_connection(topology.SparseConnection(X, Y, w=dense.to_sparse_coo()), "X", "Y")
    network.connections["X", "Y"].w = nn.Parameter(dense.to_sparse_csr(), requires_grad=False)
    (connection,) = read_bindsnet(saved(network, tmp_path / "net.pt"), {}).network.connections
    assert torch.equal(connection.matrix().to_dense(), dense)


def test_layers_named_like_variables_of_the_definition(tmp_path: Path) -> None:
    network = Network()
    for name in ("torch", "saved", "network", "load_file"):
        neuron = BoostedLIFNodes(n=3)
        neuron.decay = torch.tensor(
            0.75
        )  # the constructor computes another value, so this one is saved beside the definition
        network.add_layer(neuron, name, external=name == "torch")
    for source, target in pairwise(network.layers):
        network.add_connection(Sparse(torch.eye(3)), source, target)
    definition = define(network, "names")
    (tmp_path / "mine.py").write_text(definition.text)
    write_tensors(tmp_path / "mine.safetensors", to_numpy(dict(definition.tensors)))
    loaded = load_model(tmp_path / "mine.py").program
    assert loaded.contract == network.contract
    assert {name: value.tolist() for name, value in loaded.named_buffers()} == {
        name: value.tolist() for name, value in network.named_buffers()
    }
