"""Fixtures for all tests: one thread, bundles that are exported once, and the command line in this process."""

import fcntl
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy_snn.bundle import Bundle
from deploy_snn.cli.export import export_model


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For ``pytest -n``: a file's tests share a worker, and so what they export; all that need the C++ builds share one.

    Those come first, as they take longest.
    """
    items.sort(key=lambda item: item.get_closest_marker("hosts") is None)
    for item in items:
        together = "hosts" if item.get_closest_marker("hosts") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(together))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Steps are too small to share between cores, and two cores that wait for each other are slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Bundle]:
    """``exported("lif", n=6, traces=True)``: the bundle of a model, written once for all tests of all workers.

    Change only copies of it.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "bundles"
    opened: dict[str, Bundle] = {}

    def export(model: str, **options: Any) -> Bundle:
        key = f"{model} {sorted(options.items())}"
        if key not in opened:
            path = folder / sha256(key.encode()).hexdigest()[:16] / Path(model).stem
            snap = options.pop("snap", None)
            path.parent.mkdir(parents=True, exist_ok=True)
            with (path.parent / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be writing the same bundle
                if not path.exists():
                    export_model(model, options or {"n": 6}, path, golden_steps=200, snap=snap)
                opened[key] = Bundle.open(path)
        return opened[key]

    return export


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """``command("export", "lif")``: run the command line as ``main`` does. Gives its exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        from deploy_snn.cli.main import main

        monkeypatch.setattr("sys.argv", ["deploy-snn", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = capsys.readouterr()
        return int(stopped.value.code or 0), shown.out, shown.err

    return call
