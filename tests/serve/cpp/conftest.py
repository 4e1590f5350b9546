"""The C++ hosts, built from scratch, once as shipped and once with sanitizers: every test runs with both."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime
import pytest
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model
from deploy_snn.cpus import cpus_here

if TYPE_CHECKING:
    from ...conftest import SharedFolder  # noqa: TID252

ROOT = Path(__file__).parent.parent.parent.parent
CPP = ROOT / "serve" / "cpp"
ONNXRUNTIME = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*"))
LIBRARIES = cpus_here()
SANITIZE = {"shipped": "", "sanitized": "address,undefined"}


@dataclass(frozen=True)
class Host:
    """One program, with the options that say what it runs."""

    program: Path
    options: tuple[str, ...]

    def __call__(self, *arguments: object, options: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(self.program), *map(str, arguments), *(self.options if options else ())]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def refuses(self, status: int, message: str, *arguments: object, options: bool = True) -> None:
        """Assert that it ends with this status, and one line on stderr that contains ``message``."""
        done = self(*arguments, options=options)
        assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
        assert done.stderr.startswith(f"{self.program.name}: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert message in done.stderr
        assert not done.stdout


@dataclass(frozen=True)
class Build:
    """A build of everything in serve/cpp."""

    folder: Path
    sanitized: bool = False

    @property
    def hosts(self) -> dict[str, Host]:
        torch_, ort = self.folder / "snn-torch", self.folder / "snn-ort"
        return {
            "c": Host(self.folder / "snn-c", ()),
            "torch": Host(torch_, ()),
            "aoti": Host(torch_, ("--aoti",)),
            "ort": Host(ort, ("--onnxruntime", str(ONNXRUNTIME))),
        }


@pytest.fixture(scope="session", params=SANITIZE)
def build(request: pytest.FixtureRequest, headers: Path, shared: "SharedFolder") -> Build:
    if not all(map(shutil.which, ("cmake", "c++"))):
        pytest.skip("the C++ hosts need cmake and a C++ compiler, and this machine lacks them")
    sanitize = SANITIZE[request.param]
    folder = shared.once(f"hosts-{request.param}", lambda folder: build_hosts(folder, headers, sanitize))
    return Build(folder, bool(sanitize))


def build_hosts(folder: Path, headers: Path, sanitize: str) -> None:
    run(
        "cmake", "-S", CPP, "-B", folder,
        f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path};{headers}/usr",
        f"-DONNXRUNTIME_INCLUDE_DIR={headers}/usr/include/onnxruntime",
        f"-DDEPLOY_SNN_SANITIZE={sanitize}",
        "-DDEPLOY_SNN_TESTS=ON",
        f"-DCMAKE_BUILD_TYPE={'Debug' if sanitize else 'Release'}",
    )  # fmt: skip
    run("cmake", "--build", folder, "--parallel", os.cpu_count() or 1)


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def compiled(shared: "SharedFolder") -> Callable[[str], Bundle]:
    """``compiled("lif")``: a bundle with every format, the compiled step among them."""

    def export(model: str) -> Bundle:
        network = model.endswith(".py")
        options = {"n": 6, "n_input": 8} if network else {"n": 6}
        snap = 14 if network else None
        formats = ["onnx", "onnx-custom", "torchscript", "torchscript-custom", "c", "aoti"]
        path = shared.once(
            f"compiled/{Path(model).stem}",
            lambda path: export_model(
                model, options, path, formats=formats, format_options={"c": {"libraries": LIBRARIES}}, snap=snap
            ),
        )
        return Bundle.open(path)

    return export
