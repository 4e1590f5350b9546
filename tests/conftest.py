"""Fixtures for all tests: one thread, bundles that are exported once, and the command line in this process."""

import fcntl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of the C++ hosts first, since they take longest."""
    items.sort(key=lambda item: item.get_closest_marker("hosts") is None)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Use one thread: steps are too small for several cores, and waiting for each other would be slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class SharedFolder:
    """A folder that all workers of a test run share, for files that are expensive to create."""

    path: Path

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the path of this name. The first worker calls ``make(path)``, and the others wait for it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        done = path.with_name(f"{path.name}.done")
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                make(path)
                done.touch()
        return path


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> SharedFolder:
    """The folder that all workers share."""
    own = tmp_path_factory.getbasetemp()
    return SharedFolder((own if worker_id == "master" else own.parent) / "shared")


@pytest.fixture(scope="session")
def headers(shared: SharedFolder) -> Path:
    """The folder with the headers of ONNX Runtime and of nlohmann's JSON: serve/cpp/.headers, or a new download."""
    cpp = Path(__file__).parent.parent / "serve" / "cpp"
    if (cpp / ".headers" / "done").exists():
        return cpp / ".headers"

    def download(folder: Path) -> None:
        done = subprocess.run([str(cpp / "headers.sh"), str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return shared.once("headers", download)


@pytest.fixture(scope="session")
def exported(shared: SharedFolder) -> Callable[..., Bundle]:
    """``exported("lif", n=6, traces=True)``: the bundle of a model, written once for all tests of all workers.

    Change only copies of it.
    """
    opened: dict[str, Bundle] = {}

    def export(model: str, **options: Any) -> Bundle:
        key = f"{model} {sorted(options.items())}"
        if key not in opened:
            snap = options.pop("snap", None)
            path = shared.once(
                f"{sha256(key.encode()).hexdigest()[:16]}/{Path(model).stem}",
                lambda path: export_model(model, options or {"n": 6}, path, golden_steps=200, snap=snap),
            )
            opened[key] = Bundle.open(path)
        return opened[key]

    return export


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``command("export", "lif")``: run the command line as ``main`` does. Return its exit status, stdout and stderr."""
    # On a busy machine a command is slow enough to report its progress, which the tests of stderr do not expect.
    monkeypatch.setattr("deploy_snn.cli.progress.INTERVAL", float("inf"))

    def call(*arguments: object) -> tuple[int, str, str]:
        from deploy_snn.cli.main import main

        monkeypatch.setattr("sys.argv", ["deploy-snn", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out, shown.err

    return call
