"""Fixtures for all tests: one thread, bundles that are exported once, and the command line in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from deploy_snn.cli.export import export_model
from deploy_snn.bundle import Bundle


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
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    """``exported("lif", n=6, traces=True)``: the bundle of a model, written once for all tests. Change only copies."""
    made: dict[str, Bundle] = {}

    def export(model: str, **options: Any) -> Bundle:
        key = f"{model} {sorted(options.items())}"
        if key not in made:
            folder = tmp_path_factory.mktemp("bundle")
            snap = options.pop("snap", None)
            made[key] = export_model(model, options or {"n": 6}, folder / Path(model).stem, golden_steps=200, snap=snap)
        return made[key]

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
