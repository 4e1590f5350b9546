"""A host refuses a bad file or argument with one line that says why and the right exit status, and writes nothing."""

import hashlib
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deploy_snn.bundle import Bundle
from deploy_snn.cpus import cpus_here, library_name
from deploy_snn.errors import InvalidInput
from deploy_snn.runtimes import unavailable_reason
from deploy_snn.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.hosts

HOSTS = ["torch", "ort", "c"]
MODEL = {"torch": "model.pt", "aoti": "step.aoti.pt2", "ort": "step.onnx", "c": library_name(cpus_here()[0])}


@pytest.fixture
def bundle(compiled: Callable[[str], Bundle], tmp_path: Path) -> Path:
    """A bundle of LIF neurons, to be damaged."""
    path = tmp_path / "lif"
    shutil.copytree(compiled("lif").path, path)
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def remove_golden(path: Path) -> None:
    """What an export without a golden trace writes."""
    (path / "golden.safetensors").unlink()
    edit(path, lambda m: (m.update(golden=None), m["files"].pop("golden.safetensors")))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGED = [
    (shutil.rmtree, "is not a bundle: the folder does not exist"),
    (lambda path: (path / "manifest.json").unlink(), "it has no manifest.json"),
    (lambda path: (path / "manifest.json").write_text('{"schema'), "manifest.json is damaged: invalid JSON at byte 9"),
    (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
    (
        lambda path: edit(path, lambda m: m.update(schema_version=99)),
        "has schema 99, and this host reads schemas up to 2: build",
    ),
    (
        lambda path: edit(path, lambda m: m.update(schema_version=True)),
        "schema_version is not a whole number of at least 1",
    ),
    (
        lambda path: edit(path, lambda m: m["contract"].update(contract_version=99)),
        "it has contract version 99, and this host",
    ),
    (lambda path: edit(path, lambda m: m["contract"].update(dt=-1)), "dt: it is not greater than 0"),
    (
        lambda path: edit(path, lambda m: m["contract"]["tensors"][0].update(role="tea")),
        "unknown role 'tea'; choose from drive",
    ),
    (lambda path: edit(path, lambda m: m["files"].update({"../up": {"bytes": 1, "sha256": ""}})), "outside the bundle"),
    (
        lambda path: edit(path, lambda m: m["contract"].update(dt=2.0)),
        "differs from the manifest: dt is 1 ms instead of 2 ms",
    ),
    (lambda path: edit(path, lambda m: m["files"].pop("golden.safetensors")), "has no golden.safetensors, only"),
    (remove_golden, "has no golden trace: export it again with one"),
    (lambda path: edit(path, lambda m: m.pop("golden")), "manifest.json is damaged"),
    (lambda path: edit(path, lambda m: m.update(golden=3)), "golden is neither an object nor null"),
    (lambda path: (path / "golden.safetensors").unlink(), "golden.safetensors is missing, but the manifest lists it"),
    (lambda path: flip(path / "golden.safetensors"), "golden.safetensors has changed since the export (SHA-256 differs)"),
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("damage", "message"), DAMAGED)
def test_a_damaged_bundle(host: str, damage: Callable[[Path], object], message: str, bundle: Path, build) -> None:
    damage(bundle)
    build.hosts[host].refuses(2, message, "check", bundle)


@pytest.mark.parametrize("host", MODEL)
def test_a_damaged_model(host: str, bundle: Path, compiled: Callable[[str], Bundle], build) -> None:
    model, refuses = bundle / MODEL[host], build.hosts[host].refuses
    whole = model.read_bytes()
    model.write_bytes(whole[:-10])
    refuses(2, "truncated or changed; export the model again", "check", bundle)
    model.write_bytes(whole)
    flip(model)
    refuses(2, "has changed since the export", "check", bundle)
    model.unlink()
    refuses(2, f"{MODEL[host]} is missing, but the manifest lists it", "check", bundle)
    # What the manifest vouches for may still be another model, or no model at all.
    recorded = compiled("current-lif").manifest.files[MODEL[host]].model_dump()
    shutil.copy(compiled("current-lif").path / MODEL[host], model)
    edit(bundle, lambda m: m["files"].update({MODEL[host]: recorded}))
    refuses(2, "differs from the manifest", "check", bundle)
    shutil.copy(bundle / "initial_state.safetensors", model)
    edit(bundle, lambda m: m["files"].update({MODEL[host]: m["files"]["initial_state.safetensors"]}))
    refuses(2, MODEL[host], "check", bundle)


def test_invalid_bools(bundle: Path, build) -> None:
    """A bool that is neither 0 nor 1 is not even a value in C++."""
    golden = bundle / "golden.safetensors"
    data = golden.read_bytes()
    golden.write_bytes(data[:-1] + b"\2")  # spikes stand last
    recorded = {"bytes": len(data), "sha256": hashlib.sha256(golden.read_bytes()).hexdigest()}
    edit(bundle, lambda m: m["files"].update({golden.name: recorded}))
    build.hosts["ort"].refuses(2, "tensor 'outputs/s' is bool and has bytes that are neither 0 nor 1", "check", bundle)


X = np.zeros((5, 1, 6), np.float32)
BAD_INPUTS = [
    ({"x": np.full((5, 1, 6), np.nan, np.float32)}, "input 'x' must be finite, but is nan at element 0"),
    ({"x": np.full((5, 1, 6), -np.inf, np.float32)}, "input 'x' must be finite, but is -inf"),
    ({"x": X.astype(np.float64)}, "element type F64; expected F32 or BOOL"),
    ({"x": X.astype(bool)}, "convert it to float32"),
    ({"x": np.zeros((5, 1, 7), np.float32)}, "axis 'neuron' is 7 and not 6"),
    ({"x": X[:, 0]}, "it has 2 axes and not 3"),
    ({"x": X[:, :0]}, "axis 'batch' is empty"),
    ({"x": X[:0]}, "axis 'time' is empty"),
    ({"x": X, "y": X}, "unknown input 'y'; expected x float32 [time, batch, 6]"),
    ({"x": X, "\x1b[2J": X}, "unknown input '?[2J'"),  # it would clear the screen
    ({}, "input 'x' is missing; expected x float32 [time, batch, 6]"),
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad[1][:30])
def test_bad_inputs(host: str, bad: tuple[dict, str], bundle: Path, build, tmp_path: Path) -> None:
    arrays, message = bad
    write_tensors(tmp_path / "in", arrays)
    build.hosts[host].refuses(2, message, "run", bundle, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "lif"]


@pytest.mark.parametrize("host", HOSTS)
def test_bad_states_and_places(host: str, bundle: Path, build, tmp_path: Path) -> None:
    refuses = build.hosts[host].refuses
    write_tensors(tmp_path / "in", {"x": X})
    go = ("run", bundle, "--input", tmp_path / "in", "--output", tmp_path / "out")
    rest = np.zeros((1, 6), np.float32)
    for state, message in (
        ({"v": np.zeros((2, 6), np.float32), "refrac_count": np.zeros((2, 6), np.float32)}, "axis 'batch' is 2 and not 1"),
        ({"v": rest * np.nan, "refrac_count": rest}, "state 'v' must be finite, but is nan"),
        ({"v": rest}, "state 'refrac_count' is missing"),
    ):
        write_tensors(tmp_path / "state", state)
        refuses(2, message, *go, "--state-in", tmp_path / "state")
    refuses(2, "does not exist", *go, "--state-in", tmp_path / "none")
    refuses(2, "is not a file", *go, "--state-in", tmp_path)
    refuses(2, "no such folder", *go[:-1], tmp_path / "no" / "out")
    refuses(2, "is a folder", *go[:-1], tmp_path)
    refuses(2, "no such folder", *go, "--state-out", tmp_path / "no" / "state")
    refuses(2, "does not exist", "run", bundle, "--input", tmp_path / "none", "--output", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "lif", "state"]


@pytest.mark.parametrize("host", HOSTS)
def test_wrong_usage(host: str, bundle: Path, build) -> None:
    refuses = build.hosts[host].refuses
    refuses(2, "unknown command 'sing'; choose from check, run, bench", "sing", bundle)
    refuses(2, "unknown option --colour", "check", bundle, "--colour", "red")
    refuses(2, "--steps many: expected a number of at least 1", "bench", bundle, "--steps", "many")
    refuses(2, "--steps 0: expected a number of at least 1", "bench", bundle, "--steps", "0")
    refuses(2, "--tolerance -1", "check", bundle, "--tolerance", "-1")
    refuses(2, "--input needs a value", "run", bundle, "--input", options=False)
    refuses(2, "run needs --input FILE and --output FILE", "run", bundle)
    refuses(2, "unknown device 'tpu'; choose from cpu, cuda", "check", bundle, "--device", "tpu")
    done = build.hosts[host]("check")
    assert done.returncode == 2
    assert "expected a command and a bundle; see snn-" in done.stderr
    assert build.hosts[host]("--help", options=False).stdout.startswith("usage: ")


def test_what_is_missing_here(bundle: Path, build, tmp_path: Path) -> None:
    for host, runtime in (("torch", "torchscript-cuda"), ("ort", "onnxruntime-cuda")):
        if unavailable_reason(runtime):
            build.hosts[host].refuses(3, "device cuda", "check", bundle, "--device", "cuda")
    build.hosts["c"].refuses(3, "device cuda: format c is compiled for the CPU", "check", bundle, "--device", "cuda")
    ort, c = build.hosts["ort"].refuses, build.hosts["c"].refuses
    c(3, "the library cannot be loaded", "check", bundle, "--library", tmp_path / "none.so")
    c(2, "the library cannot be loaded", "check", bundle, "--library", bundle / "model.c")
    ort(3, "ONNX Runtime cannot be loaded", "check", bundle, "--onnxruntime", tmp_path / "none.so", options=False)
    ort(3, "has no OrtGetApiBase", "check", bundle, "--onnxruntime", "libcrypto.so.3", options=False)


def test_code_for_another_cpu(compiled: Callable[[str], Bundle], build, tmp_path: Path) -> None:
    bundle = tmp_path / "lif"
    shutil.copytree(compiled("lif").path, bundle)
    model = bundle / "step.aoti.pt2"
    # The name of the CPU has a place of its own in the archive, stored as it is: another of the same length, and its CRC.
    data = model.read_bytes()
    with zipfile.ZipFile(model) as archive:
        entry = next(info for info in archive.infolist() if info.filename.endswith("deploy_snn.cpu"))
        name = archive.read(entry)
    other = b"y" + name[1:]
    crcs = [struct.pack("<I", zipfile.crc32(text)) for text in (name, other)]
    assert data.count(name) == 1
    model.write_bytes(data.replace(name, other).replace(*crcs))
    recorded = {"bytes": len(data), "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    edit(bundle, lambda m: m["files"].update({model.name: recorded}))
    message = f"was compiled for {other.decode()}, and this CPU does not support it"
    build.hosts["aoti"].refuses(3, message, "check", bundle)


def test_without_a_library_for_this_cpu(bundle: Path, build) -> None:
    refuses = build.hosts["c"].refuses
    edit(bundle, lambda m: [m["files"].pop(library_name(cpu)) for cpu in cpus_here()])
    refuses(3, f"is not compiled for this CPU: the bundle has none of {library_name(cpus_here()[0])}", "check", bundle)
    edit(bundle, lambda m: m["formats"]["c"].update(prefix=7))
    refuses(2, "the manifest has no valid section 'c': export the model again", "check", bundle)
    edit(bundle, lambda m: m["files"].pop("model.c"))
    refuses(2, "has no model.c, only", "check", bundle)


CHANGES: list[tuple[str, object]] = [
    *(("dtype", value) for value in ("F16", "BOOL", 3)),
    *(("shape", value) for value in ([2, 1, -6], [2**62, 4, 6], [12], [2.5], {}, [2**64], None)),
    *(("data_offsets", value) for value in ([8, 56], [48, 0], [0], [0, 2**63], [-1, 47], [0.0, 48.0], "48")),
    ("x", 1),
]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A tensor file with bytes changed, cut, added, or with another header."""
    header = {"x": {"dtype": "F32", "shape": [2, 1, 6], "data_offsets": [0, 48]}}
    if draw(st.booleans()):
        field, value = draw(st.sampled_from(CHANGES))
        header["x"][field] = value
    if draw(st.booleans()):
        begin = draw(st.integers(0, 60))
        header["y"] = {"dtype": "BOOL", "shape": [4], "data_offsets": [begin, begin + 4]}
    text = draw(st.sampled_from([json.dumps(header), json.dumps(header) + "   ", "[]", "{", "{}", '{"x": 1}']))
    data = bytearray(struct.pack("<Q", len(text)) + text.encode() + bytes(draw(st.sampled_from([48, 52, 47, 0, 56]))))
    for _ in range(draw(st.integers(0, 2))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data)


def tensor_file(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def of_x(begin: int, end: int) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2, 1, 6], "data_offsets": [begin, end]}}


@example(data=tensor_file(of_x(8, 56), bytes(56)))  # a gap before the tensor
@example(data=tensor_file(of_x(0, 48), bytes(56)))  # and bytes after it
@example(data=tensor_file(of_x(0, 48), bytes(40)))  # or fewer than it takes
@example(data=tensor_file(of_x(48, 0), bytes(48)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged_files())
def test_any_tensor_file(data: bytes, bundle: Path, build, tmp_path: Path) -> None:
    """The host accepts no file that Python's safetensors refuses, and reports an error for the others."""
    (tmp_path / "in").write_bytes(data)
    done = build.hosts["ort"]("run", bundle, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        assert done.stderr.count("\n") == 1, done.stderr
        return
    try:
        tensors = read_tensors(tmp_path / "in")
    except InvalidInput:
        pytest.fail("it took what Python refuses")
    assert tensors.keys() == {"x"}
    assert tensors["x"].dtype == np.float32
