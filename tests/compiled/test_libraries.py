"""The shared libraries of compiled C: built here and kept in a cache, or carried by a bundle."""

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deploy_snn import c_compiler, export, load_model
from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import build_library, cache_folder
from deploy_snn.cpus import CPUS, cpus_here, library_name
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.formats.c import C
from deploy_snn.runtimes import fastest_runtime, find_runtime, usable_runtimes
from deploy_snn.tensors import write_tensors

SOURCE = {"add.c": '#include "add.h"\nint add(int a, int b) { return a + b; }\n', "add.h": "int add(int a, int b);\n"}
WITHOUT_COMPILER = "no C compiler was found: install gcc or clang"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no compiler that an earlier test has found."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    c_compiler.find_compiler.cache_clear()
    yield tmp_path / "cache" / "deploy-snn"
    c_compiler.find_compiler.cache_clear()


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_compiler.shutil, "which", lambda _: None)
    monkeypatch.setattr(c_compiler, "find_spec", lambda _: None)


@pytest.fixture(scope="module")
def carrying(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a library for every kind of CPU."""
    pytest.importorskip("ziglang", reason="only zig compiles for other CPUs")
    path = tmp_path_factory.mktemp("carrying") / "lif"
    return export(load_model("lif", n=6), path, formats=["onnx", C(libraries=tuple(CPUS))], golden_steps=20)


def steps(bundle: Bundle, runtime: str) -> list[np.ndarray]:
    session = bundle.session(runtime, batch=2)
    x = (np.random.default_rng(0).random((30, 2, 6)) * 30).astype(np.float32)
    spikes = [session.step(now)["s"] for now in x]
    assert any(array.any() for array in spikes)
    return [*spikes, *session.state.values()]


def works(path: Path) -> bool:
    return bool(ctypes.CDLL(str(path)).add(2, 3) == 5)


def test_a_library_is_built_once(cache: Path) -> None:
    path = build_library(SOURCE)
    assert works(path)
    before = path.stat().st_mtime_ns
    assert build_library(dict(reversed(SOURCE.items()))) == path
    assert path.stat().st_mtime_ns == before
    assert build_library(SOURCE | {"add.h": "int add(int a, int b); \n"}) != path
    assert build_library(SOURCE, flags=()) != path
    assert sorted(file.suffix for file in cache.iterdir()) == [".so"] * 3  # nothing is left from the builds
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_processes_that_build_at_once(cache: Path) -> None:
    """They meet before they build, and each gets a whole library."""
    code = (
        "import ctypes, sys\n"
        "from deploy_snn.c_compiler import build_library\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"path = build_library({SOURCE!r})\n"
        "print(path, ctypes.CDLL(str(path)).add(2, 3))\n"
    )
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", code], **pipe) for _ in range(4)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    shown = [process.communicate(timeout=60) for process in processes]
    assert {error for _, error in shown} == {""}
    assert {line for line, _ in shown} == {f"{next(cache.glob('*.so'))} 5\n"}
    assert len(list(cache.iterdir())) == 1


def test_an_error_of_the_compiler_is_shown() -> None:
    with pytest.raises(Unavailable, match=r"the C compiler .* failed with status \d+: add\.c:2.*error: .*c.* undeclared"):
        build_library(SOURCE | {"add.c": '#include "add.h"\nint add(int a, int b) { return a + c; }\n'})


def test_a_compiler_that_fails_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(Unavailable, match="broken-cc failed with status 7: no message"):
        build_library(SOURCE)


@pytest.mark.parametrize("kind", ["file", "read-only"])
def test_a_cache_that_cannot_be_written(kind: str, cache: Path) -> None:
    cache.parent.mkdir()
    if kind == "file":
        cache.write_text("in the way")
    elif os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    else:
        cache.mkdir(mode=0o500)
    with pytest.raises(Unavailable, match=r"the library cannot be written to .*deploy-snn: "):
        build_library(SOURCE)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_a_damaged_library_in_the_cache_is_built_again(damage: str, cache: Path) -> None:
    library = build_library(SOURCE)
    whole = library.read_bytes()
    library.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"no library"}[damage])
    assert works(build_library(SOURCE))
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Status 3, from every command that would need one, and the server falls back to ONNX Runtime."""
    bundle = export(load_model("lif", n=6), tmp_path / "lif", formats=["onnx", "c"], golden_steps=0)
    with pytest.raises(Unavailable, match=f"c cannot run here: {WITHOUT_COMPILER}"):
        bundle.session("c")
    for arguments in (("parity", bundle.path, "--runtime", "c"), ("bench", bundle.path, "--runtime", "c")):
        status, _, shown = command(*arguments)
        assert status == 3
        assert WITHOUT_COMPILER in " ".join(shown.split())
    assert "c" not in usable_runtimes(bundle)
    assert fastest_runtime(bundle) == "onnxruntime-cpu"


@pytest.mark.usefixtures("without_compiler")
def test_a_bundle_with_a_library_needs_no_compiler(carrying: Bundle, cache: Path) -> None:
    assert fastest_runtime(carrying) == "c"
    assert "c" in usable_runtimes(carrying)
    for actual, expected in zip(steps(carrying, "c"), steps(carrying, "eager"), strict=True):
        assert_array_equal(actual, expected)
    assert not cache.exists()


@pytest.mark.usefixtures("without_compiler")
def test_the_commands_need_no_compiler_for_a_bundle_with_a_library(
    carrying: Bundle,
    cache: Path,
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Each of them runs the carried library. A model beside the bundle still needs a compiler."""
    monkeypatch.setattr("deploy_snn.cli.bench.SECONDS", 0.01)
    recording = tmp_path / "x.safetensors"
    write_tensors(recording, {"x": np.full((5, 1, 6), 30, np.float32)})
    for arguments in (
        ("parity", carrying.path, "--runtime", "c", "--steps", 20),
        ("parity", "--reference", carrying.path, "--candidate", f"{carrying.path}:c", "--steps", 20),
        ("bench", carrying.path, "--runtime", "c"),
        ("run", carrying.path, "--runtime", "c", "--input", recording, "--output", tmp_path / "s.safetensors"),
    ):
        status, _, shown = command(*arguments)
        assert status == 0, shown
    assert not cache.exists()
    status, _, shown = command("parity", carrying.path, "lif", "--runtime", "c")
    assert status == 3
    assert WITHOUT_COMPILER in " ".join(shown.split())


def test_libraries_for_every_cpu(carrying: Bundle) -> None:
    """Each is for its machine, needs nothing but libc, and holds the model."""
    machines = {"x86_64": b"\x3e\x00", "aarch64": b"\xb7\x00"}
    for name, cpu in CPUS.items():
        data = carrying.file(library_name(name)).read_bytes()
        assert data[:4] == b"\x7fELF"
        assert data[18:20] == machines[cpu.machine], name
    assert len({carrying.file(library_name(name)).read_bytes() for name in CPUS}) == len(CPUS)


def test_a_library_of_another_model_is_refused(carrying: Bundle, tmp_path: Path) -> None:
    name = library_name(cpus_here()[0])
    for folder, content, message in (
        ("lif", carrying.file(name).read_bytes(), "differs from the manifest"),
        ("current-lif", carrying.file(name).read_bytes(), "has no model 'current_lif'"),
        ("damaged", b"no library", "cannot be loaded"),
    ):
        other = export(load_model("current-lif", n=6), tmp_path / folder, formats=["c"], golden_steps=0)
        (other.path / name).write_bytes(content)
        manifest = other.manifest.model_copy(update={"files": other.manifest.files | {name: carrying.manifest.files[name]}})
        with pytest.raises(InvalidInput, match=message):
            find_runtime("c")(Bundle(other.path, manifest))


def test_an_unknown_cpu() -> None:
    with pytest.raises(InvalidInput, match="unknown CPU 'z80'; choose from x86-64-v3, x86-64, aarch64"):
        C(libraries=("z80",))


def test_the_command_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no compiler")
    cpu = cpus_here()[-1]
    status, _, shown = command(
        "export", "lif", "--n", 4, "--format", "c", "--library", cpu, "--check-steps", 12, "-o", tmp_path / "lif"
    )
    assert status == 0, shown
    assert library_name(cpu) in Bundle.open(tmp_path / "lif").manifest.files
    assert "int32_t lif_check(lif_check_memory *memory);" in (tmp_path / "lif" / "model.h").read_text()
    status, _, shown = command("export", "lif", "--format", "c", "--library", "z80", "-o", tmp_path / "other")
    assert status == 2
    assert "unknown CPU 'z80'" in shown
    assert cache_folder().name == "deploy-snn"
