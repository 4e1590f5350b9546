"""Plots show the data of their files: marks, bars, lines and points are counted and measured in the SVG."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import Trace
from deploy_snn.tensors import Array

pytest.importorskip("matplotlib", reason="the extra plot is not installed")

Command = Callable[..., tuple[int, str, str]]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def run(exported: Callable[..., Bundle], command: Command, tmp_path: Path) -> Path:
    """A folder with the files ``in``, ``out`` and ``trace`` of a run of six LIF neurons, for two rows."""
    x = np.random.default_rng(0).uniform(0, 9, (50, 2, 6)).astype(np.float32)
    x[:, :, 5] = 0
    save_file({"x": x}, tmp_path / "in.safetensors")
    files = [("--input", "in"), ("--output", "out"), ("--trace", "trace")]
    arguments = [word for option, name in files for word in (option, tmp_path / f"{name}.safetensors")]
    assert command("run", exported("lif", n=6).path, *arguments)[0] == 0
    return tmp_path


def groups(path: Path) -> dict[str, ET.Element]:
    """Return the groups of an SVG by id."""
    return {group.get("id", ""): group for group in ET.parse(path).iter(f"{SVG}g")}


def marks(group: ET.Element) -> Array:
    """Return x and y of the marks of a group."""
    return np.array([[float(mark.get("x", "")), float(mark.get("y", ""))] for mark in group.iter(f"{SVG}use")])


def path_of(group: ET.Element) -> Array:
    (line,) = group.iter(f"{SVG}path")
    return np.array(re.findall(r"[ML] (\S+) (\S+)", line.get("d", "")), float)


@pytest.mark.parametrize("row", [0, 1])
def test_a_raster_has_a_mark_for_each_spike(run: Path, command: Command, row: int) -> None:
    picture = run / "raster.svg"
    status, shown, error = command("plot", run / "out.safetensors", "-o", picture, "--row", row)
    assert (status, shown) == (0, f"{picture}: raster, 1 panel\n"), error
    spikes = load_file(run / "out.safetensors")["s"][:, row]
    found = marks(groups(picture)["spikes s"])
    assert len(found) == spikes.sum() > 0
    steps, neurons = np.nonzero(spikes)
    scale = np.polyfit(steps, found[:, 0], 1)
    assert np.allclose(np.polyval(scale, steps), found[:, 0], atol=1e-3), "x of a mark is not its step"
    assert scale[0] > 0
    scale = np.polyfit(neurons, found[:, 1], 1)
    assert np.allclose(np.polyval(scale, neurons), found[:, 1], atol=1e-3), "y of a mark is not its neuron"
    assert scale[0] < 0, "the first neuron is not at the bottom"


def test_rates_are_spikes_per_step(run: Path, command: Command) -> None:
    assert command("plot", run / "out.safetensors", "-o", run / "rates.svg", "--kind", "rates")[0] == 0
    rate = load_file(run / "out.safetensors")["s"][:, 0].mean(0)
    found = groups(run / "rates.svg")
    heights = [np.ptp(path_of(found[f"rate s {neuron}"])[:, 1]) for neuron in range(6)]
    assert heights[5] == 0
    assert np.allclose(np.array(heights) / max(heights), rate / rate.max(), atol=1e-3)


def test_potentials_follow_the_states_of_a_trace(run: Path, command: Command) -> None:
    arguments = ("plot", run / "trace.safetensors", "-o", run / "v.svg", "--kind", "potentials")
    assert command(*arguments, "--tensor", "v")[0] == 0
    states = Trace.read(run / "trace.safetensors").states["v"][:, 0]
    found = groups(run / "v.svg")
    assert [name for name in found if name.startswith("line ")] == [f"line v {neuron}" for neuron in range(6)]
    drawn = np.concatenate([path_of(found[f"line v {neuron}"])[:, 1] for neuron in range(5)])
    expected = np.concatenate([states[:, neuron] for neuron in range(5)])
    scale = np.polyfit(expected, drawn, 1)
    assert np.allclose(np.polyval(scale, expected), drawn, atol=1e-2)
    assert scale[0] < 0
    assert command(*arguments)[1].endswith("2 panels\n"), "expected panels of v and refrac_count"


def test_trace_equals_the_run(run: Path, exported: Callable[..., Bundle], command: Command) -> None:
    """A trace has the outputs of the run, and the states of eager torch."""
    trace, out = Trace.read(run / "trace.safetensors"), load_file(run / "out.safetensors")
    assert np.array_equal(trace.outputs["s"], out["s"])
    files = ("--input", run / "in.safetensors", "--output", run / "o.safetensors", "--state-out", run / "state.safetensors")
    assert command("run", exported("lif", n=6).path, *files, "--runtime", "eager")[0] == 0
    assert np.array_equal(load_file(run / "o.safetensors")["s"], out["s"])
    for name, array in load_file(run / "state.safetensors").items():
        assert np.array_equal(trace.states[name][-1], array), name


def test_weights_before_and_after(tmp_path: Path, command: Command) -> None:
    rng = np.random.default_rng(0)
    old = rng.random((4, 3)).astype(np.float32)
    new = old.copy()
    new[:2] += 0.25
    save_file({"X_to_Y.w": old, "Y.v": np.zeros((1, 3), np.float32)}, tmp_path / "old.safetensors")
    save_file({"X_to_Y.w": new, "Y.v": np.zeros((1, 3), np.float32)}, tmp_path / "new.safetensors")
    arguments = ("plot", tmp_path / "new.safetensors", "-o", tmp_path / "w.svg", "--kind", "weights")
    status, shown, error = command(*arguments, "--before", tmp_path / "old.safetensors")
    assert (status, shown.endswith("1 panel\n")) == (0, True), error
    found = marks(groups(tmp_path / "w.svg")["weights X_to_Y.w"])
    assert len(found) == 12
    assert np.allclose(np.polyval(np.polyfit(new.ravel(), found[:, 1], 1), new.ravel()), found[:, 1], atol=1e-3)
    assert "6 of 12 changed" in (tmp_path / "w.svg").read_text()
    assert command(*arguments)[0] == 2
    status, _, error = command(*arguments, "--before", tmp_path / "new.safetensors")
    assert (status, "no tensor differs" in error) == (2, True)


def test_plots_are_reproducible(run: Path, command: Command) -> None:
    for suffix, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        pictures = [run / f"{name}{suffix}" for name in ("a", "b")]
        for picture in pictures:
            assert command("plot", run / "out.safetensors", "-o", picture)[0] == 0
        first, second = (picture.read_bytes() for picture in pictures)
        assert first == second
        assert first.startswith(begin)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "raster.jpg"], "ends in .png, .svg, .pdf"),
        (["-o", "no/raster.png"], "the folder no does not exist"),
        (["-o", "a.png", "--row", "2"], "rows 0 to 1"),
        (["-o", "a.png", "--tensor", "v"], "choose from s"),
        (["-o", "a.png", "--kind", "potentials"], "has no numbers over time"),
    ],
)
def test_invalid_arguments(run: Path, command: Command, arguments: list[str], words: str) -> None:
    status, _, error = command("plot", run / "out.safetensors", *arguments)
    assert (status, words in error) == (2, True), error
