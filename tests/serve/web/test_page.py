"""The page of ``deploy-snn web`` in a browser: what it shows, and its errors."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

from deploy_snn import export, load_model
from deploy_snn.bundle import Bundle
from deploy_snn.c_compiler import find_zig
from deploy_snn.network import Dense, Network
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.tensors import pack_tensors, read_tensors, unpack_tensors, write_tensors
from deploy_snn.web import write_site

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "serve" / "web" / "demo"
AXE = ROOT / "serve" / "web" / "node_modules" / "axe-core" / "axe.min.js"
SCREENSHOT = ROOT / "docs" / "browser.png"
LEARNING = ROOT / "docs" / "browser-learning.png"
PASSED = re.compile(
    "^Self-check passed: .* (exactly the same spikes and states|the same spikes, and states within rounding,) here"
)
Serve = Callable[[Path], str]
Open = Callable[..., Page]
Command = Callable[..., tuple[int, str, str]]
Stroke = list[tuple[float, float]]

pytestmark = pytest.mark.skipif(find_zig() is None, reason="needs the package ziglang (the extra wasm)")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A network of nine inputs and LIF neurons, in which each input drives one neuron."""
    weights = np.zeros((9, 12), np.float32)
    weights[np.arange(9), np.arange(9)] = 20.0
    network = Network()
    network.add_layer(Input(n=9), "x")
    network.add_layer(LIFNodes(n=12), "y")
    network.add_connection(Dense(torch.from_numpy(weights)), "x", "y")
    folder = tmp_path_factory.mktemp("page")
    return export(network, folder / "<b>net", formats=["wasm", "onnx"], golden_steps=20)


@pytest.fixture
def site(bundle: Bundle, command: Command, tmp_path: Path) -> Path:
    status, out, _ = command("web", bundle.path, "-o", tmp_path / "site")
    assert status == 0
    assert f"python3 -m http.server --directory {tmp_path / 'site'}" in out
    return tmp_path / "site"


def open_checked(page: Page, address: str) -> Page:
    """Open the page, and wait until its self-check has passed."""
    page.emulate_media(reduced_motion="reduce")
    page.goto(address)
    expect(page.locator("#status")).to_have_text(PASSED)
    expect(page.locator("#run")).to_be_enabled()
    return page


def state_of(page: Page) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save state").click()
    assert download.value.suggested_filename.endswith("-state.safetensors")
    return Path(download.value.path()).read_bytes()


def upload(page: Page, name: str, data: bytes) -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})


def cell(page: Page, row: int, column: int, rows: int, columns: int) -> tuple[float, float]:
    box = page.locator("canvas.grid").bounding_box()
    assert box is not None
    return box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows


def draw(page: Page, *strokes: Stroke) -> None:
    """Draw with the mouse: strokes of points (x, y) between 0 and 1."""
    page.locator("canvas.grid").scroll_into_view_if_needed()
    for stroke in strokes:
        box = page.locator("canvas.grid").bounding_box()
        assert box is not None
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def spikes_in(page: Page, layer: str) -> int:
    row = page.locator("#rates tr").filter(has=page.get_by_role("rowheader", name=layer, exact=True))
    return int(row.locator("td").nth(1).inner_text())


OPACITY = """(selector) => {
    const canvas = document.querySelector(selector);
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.height, canvas.width, [...data.filter((_, i) => i % 4 === 3)]];
}"""


def opacity(page: Page, canvas: str) -> np.ndarray:
    """Return the opacity of the pixels of a canvas, from 0 to 255."""
    height, width, alpha = page.evaluate(OPACITY, canvas)
    return np.array(alpha).reshape(height, width)


def test_run_step_and_reset(site: Path, serve: Serve, open_page: Open) -> None:
    """One input, painted with the mouse, drives one neuron, and the raster shows its spikes."""
    page = open_checked(open_page(), serve(site))
    assert page.title() == "<b>net: a spiking network"
    expect(page.locator("#name")).to_have_text("<b>net")
    page.get_by_role("slider", name="chance of a spike").fill("100")
    page.mouse.click(*cell(page, 0, 3, 2, 5))
    for _ in range(5):
        page.get_by_role("button", name="Step", exact=True).click()
    expect(page.locator("#clock")).to_have_text("Step 5, 5 ms")
    state = unpack_tensors(state_of(page), "the state")
    assert state["x.previous"].tolist() == [[0, 0, 0, 1, 0, 0, 0, 0, 0]]
    assert spikes_in(page, "y.s") >= 1
    voltage = state["y.v"][0]
    assert (voltage[[0, 1, 2, *range(4, 12)]] == voltage[0]).all()
    page.get_by_label("neuron", exact=True).fill("3")
    page.get_by_role("button", name="Step", exact=True).click()
    v = unpack_tensors(state_of(page), "the state")["y.v"][0, 3]
    expect(page.locator("#value")).to_contain_text(re.compile(f"^{v:.0f}"))
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator("#clock")).to_have_text(re.compile(r"^Step \d{3,}, "))
    page.get_by_role("button", name="Pause").click()
    painted = """() => {
        const canvas = document.getElementById("raster");
        const { data } = canvas.getContext("2d").getImageData(72, 0, canvas.width - 72, canvas.height);
        const rows = new Set();
        for (let i = 3; i < data.length; i += 4) if (data[i]) rows.add(Math.floor(i / 4 / (canvas.width - 72)));
        return [Math.min(...rows) / canvas.height, Math.max(...rows) / canvas.height];
    }"""
    top, bottom = page.evaluate(painted)
    layers = page.locator("#rates th").all_inner_texts()
    assert layers == ["x.x", "y.s"]
    rows = 9 + 12  # input 3 is the fourth row, and neuron 3 the thirteenth
    assert abs(top - 3 / rows) < 0.02
    assert abs(bottom - 13 / rows) < 0.02
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#clock")).to_have_text("Step 0, 0 ms")
    expect(page.locator("#rates td").nth(1)).to_have_text("0")


def test_scrolled_raster(site: Path, serve: Serve, open_page: Open) -> None:
    """A raster that has scrolled equals the one that is drawn again after the window was resized."""
    page = open_checked(open_page(), serve(site))
    page.get_by_role("slider", name="chance of a spike").fill("20")
    page.get_by_role("button", name="Fill").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#clock")).to_have_text(re.compile(r"^Step ([5-9]\d\d|\d{4,}), "))
    page.get_by_role("button", name="Pause").click()
    pictures = []
    for _ in range(2):
        pictures.append(opacity(page, "#raster") > 0)
        page.evaluate("dispatchEvent(new Event('resize'))")
    scrolled, redrawn = pictures
    assert scrolled.mean() > 0.02
    for one, other in ((scrolled, redrawn), (redrawn, scrolled)):  # a column may differ in width by one pixel
        near = other | np.roll(other, 1, axis=1) | np.roll(other, -1, axis=1)
        assert (one & ~near).sum() == 0


def test_keyboard_and_reset(site: Path, bundle: Bundle, serve: Serve, open_page: Open) -> None:
    page = open_checked(open_page(), serve(site))
    page.get_by_role("slider", name="chance of a spike").fill("100")
    page.locator("canvas.grid").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "Space"):
        page.keyboard.press(key)
    expect(page.locator("#spoken")).to_have_text("row 2, column 3 on")
    page.get_by_role("button", name="Step", exact=True).press("Enter")
    state = unpack_tensors(state_of(page), "the state")
    assert np.flatnonzero(state["x.previous"]).tolist() == [7]
    page.get_by_role("button", name="Reset").press("Enter")
    assert state_of(page) == pack_tensors(bundle.initial_state())


def test_state_is_exchanged_with_run(site: Path, bundle: Bundle, serve: Serve, open_page: Open, command: Command) -> None:
    """A state that goes from the page to ``deploy-snn run`` and back equals the state of the page alone."""
    page, tmp_path = open_checked(open_page(), serve(site)), site.parent
    page.get_by_role("slider", name="chance of a spike").fill("100")
    page.get_by_role("button", name="Fill").click()

    def steps(count: int) -> None:
        for _ in range(count):
            page.get_by_role("button", name="Step", exact=True).click()

    steps(3)
    (tmp_path / "page.safetensors").write_bytes(state_of(page))
    steps(6)
    alone = state_of(page)
    write_tensors(tmp_path / "in.safetensors", {"x.x": np.ones((3, 1, 9), np.float32)})
    files = {name: tmp_path / f"{name}.safetensors" for name in ("in", "out", "page", "run")}
    arguments = ("--input", files["in"], "--output", files["out"])
    status, *_ = command("run", bundle.path, *arguments, "--state-in", files["page"], "--state-out", files["run"])
    assert status == 0
    upload(page, "run.safetensors", files["run"].read_bytes())
    expect(page.locator("#clock")).to_have_text("Step 0, 0 ms")
    steps(3)
    assert state_of(page) == alone

    for data, message in (
        (b"nothing", "the file cannot be read as .safetensors: it is too short"),
        (pack_tensors({"v": np.zeros(3, np.float32)}), "unknown state 'v'"),
        (pack_tensors(bundle.initial_state(2)), "two.safetensors holds the state of 2 rows; this page runs one"),
    ):
        upload(page, "two.safetensors", data)
        expect(page.get_by_role("alert")).to_have_text(message)
        assert state_of(page) == alone


def damaged_golden(site: Path) -> None:
    tensors = read_tensors(site / "golden.safetensors")
    tensors["states/y.v"][4, 1, 5] += np.float32(1)
    write_tensors(site / "golden.safetensors", tensors)


def cut_module(site: Path) -> None:
    (site / "model.wasm").write_bytes((site / "model.wasm").read_bytes()[:-9])


def foreign_module(site: Path) -> None:
    (site / "model.wasm").write_bytes(b"\0asm\1\0\0\0")


def other_model(site: Path) -> None:
    export(load_model("lif", n=3), site.parent / "lif", formats=["wasm"], golden_steps=0)
    shutil.copyfile(site.parent / "lif" / "model.wasm", site / "model.wasm")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damaged_golden, "The self-check failed: at step 4, element 17 of y.v is "),
        (cut_module, "model.wasm cannot be loaded: a section of it is cut short"),
        (foreign_module, "model.wasm cannot be loaded: it holds no contract of deploy_snn"),
        (other_model, "the golden trace is of another model: it lacks 'x'"),
    ],
)
def test_damaged_files(damage: Callable[[Path], None], message: str, site: Path, serve: Serve, open_page: Open) -> None:
    damage(site)
    page = open_page()
    page.goto(serve(site))
    expect(page.locator("#status")).to_have_text("The network does not run.")
    expect(page.get_by_role("alert")).to_contain_text(message)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()


def test_size_and_content_security_policy(site: Path) -> None:
    own = sum(path.stat().st_size for path in site.iterdir() if path.suffix in (".html", ".js", ".css"))
    assert own < 150_000
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (site / "index.html").read_text())
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert not re.search(r"https?:|\*|unsafe-inline|'unsafe-eval'", policy[1])


def test_foreign_folder_is_kept(site: Path, bundle: Bundle, command: Command, tmp_path: Path) -> None:
    (site / "page.js").write_text("// of yesterday")
    assert command("web", bundle.path, "-o", site)[0] == 0
    assert "yesterday" not in (site / "page.js").read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    status, _, error = command("web", bundle.path, "-o", other)
    assert status == 2
    assert f"{other} exists and was not written by deploy-snn web" in error
    assert [path.name for path in other.iterdir()] == ["mine.txt"]
    status, _, error = command("web", ROOT / "export" / "lif", "-o", tmp_path / "lif")
    assert status == 2
    assert "has no model.wasm: export the model with the format wasm" in error


def axe_violations(page: Page) -> list[str]:
    """Return the violations that axe-core finds. Playwright evaluates it, since the page's policy forbids scripts."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [f"{violation['id']}: {node['html']}" for violation in found["violations"] for node in violation["nodes"]]


def arc(x: float, y: float, width: float, height: float, *degrees: float) -> Stroke:
    """Return a part of an ellipse, clockwise, between two angles from the top."""
    angles = np.radians(np.linspace(*degrees, 20))
    return [(x + width * float(np.sin(angle)), y - height * float(np.cos(angle))) for angle in angles]


DIGIT_STROKES: dict[int, list[Stroke]] = {  # without 9, which the demo network reads as 8
    0: [arc(0.5, 0.5, 0.28, 0.42, 0, 360)],
    1: [[(0.4, 0.2), (0.55, 0.05), (0.55, 0.95)]],
    2: [[*arc(0.5, 0.3, 0.25, 0.22, -70, 110), (0.25, 0.92), (0.8, 0.92)]],
    3: [arc(0.45, 0.28, 0.25, 0.2, -60, 170) + arc(0.45, 0.7, 0.28, 0.24, 10, 240)],
    4: [[(0.55, 0.05), (0.2, 0.6), (0.8, 0.6)], [(0.62, 0.35), (0.6, 0.95)]],
    5: [[(0.75, 0.08), (0.3, 0.08), (0.28, 0.45), *arc(0.48, 0.67, 0.26, 0.25, -30, 220)]],
    6: [[(0.6, 0.05), (0.35, 0.4), *arc(0.5, 0.7, 0.22, 0.22, -90, 270)]],
    7: [[(0.2, 0.1), (0.8, 0.1), (0.45, 0.95)], [(0.35, 0.5), (0.75, 0.5)]],
    8: [arc(0.5, 0.28, 0.18, 0.2, 0, 360), arc(0.5, 0.72, 0.22, 0.22, 0, 360)],
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_accessibility(scheme: str, width: int, learning_site: Path, serve: Serve, open_page: Open) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run npm install in serve/web")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    page = open_checked(open_page(**options), serve(learning_site))
    page.get_by_role("button", name="sample", exact=True).focus()
    expect(page.get_by_role("tooltip").filter(has_text="Sample:")).to_be_visible()
    assert axe_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page = open_checked(open_page(**options), serve(DEMO))
    draw(page, *DIGIT_STROKES[1])
    page.get_by_role("button", name="Read the drawing").click()
    assert axe_violations(page) == []
    page.get_by_role("button", name="spike", exact=True).focus()
    expect(page.get_by_role("tooltip").filter(has_text="Spike:")).to_be_visible()
    assert axe_violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip").filter(has_text="Spike:")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_labels_of_drawn_digits(serve: Serve, open_page: Open) -> None:
    page = open_checked(open_page(), serve(DEMO))
    expect(page.locator("#label")).to_have_text("Draw a digit.")
    for digit, strokes in DIGIT_STROKES.items():
        draw(page, *strokes)
        page.get_by_role("button", name="Read the drawing").click()
        expect(page.locator("#label")).to_have_text(f"This looks like a {digit}.")
        bars = page.locator("#votes meter").evaluate_all("(bars) => bars.map((bar) => bar.value)")
        assert bars.index(max(bars)) == digit
        page.get_by_role("button", name="Clear").click()
    for digit in (0, 1, 4):  # small and in a corner: the page centres and scales the drawing
        draw(page, *([(0.6 * x, 0.6 * y) for x, y in stroke] for stroke in DIGIT_STROKES[digit]))
        page.get_by_role("button", name="Read the drawing").click()
        expect(page.locator("#label")).to_have_text(f"This looks like a {digit}.")
        page.get_by_role("button", name="Clear").click()
    draw(page, *DIGIT_STROKES[7])
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#label")).to_have_text(re.compile("This looks like"))
    page.get_by_role("button", name="Pause").click()


def test_touch(serve: Serve, open_page: Open) -> None:
    page = open_checked(open_page(has_touch=True, viewport={"width": 390, "height": 800}), serve(DEMO))
    page.locator("canvas.grid").tap()
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.locator("#label")).to_have_text("Looking.")


def test_demo_is_up_to_date() -> None:
    """The demo equals what the package writes. ``make web`` writes it again."""
    described = json.loads((DEMO / "site.json").read_text())
    assert described["readout"]["layer"] == "exc"
    for name in ("index.html", "style.css", "page.js", "deploy-snn.js", "deploy-snn.d.ts"):
        assert (DEMO / name).read_bytes() == (ROOT / "deploy_snn" / "web" / name).read_bytes(), f"{name}: run make web"
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 400_000


@pytest.fixture(scope="module")
def learning_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a plastic Diehl & Cook network for pictures of 4 x 4 pixels, which learns within a few steps."""
    torch.manual_seed(0)
    model = load_model(ROOT / "models" / "diehl_cook_2015.py", n=6, n_input=16, plastic=True)
    assert isinstance(model, Network)
    model.layers["exc"].neuron.theta_plus.fill_(2.0)
    learning = next(connection for connection in model.connections if connection.plastic)
    learning.rule.nu.copy_(torch.tensor([1e-3, 5e-2]))
    learning.initial_weights().mul_(4)  # above the norm, so that few inputs are enough for spikes
    folder = tmp_path_factory.mktemp("learning")
    return write_site(export(model, folder / "plastic", formats=["wasm"], golden_steps=10), folder / "site")


WEIGHTS, NORM = "X_to_exc.w", 1.6


def test_picture_of_learnt_weights(learning_site: Path, serve: Serve, open_page: Open) -> None:
    """The picture shows the weights. The end of a sample normalises them, and resets all other states but theta."""
    page = open_checked(open_page(), serve(learning_site))
    before, initial = opacity(page, "#matrix"), unpack_tensors(state_of(page), "the state")
    expect(page.locator("#learnt")).to_contain_text("0 of 96 weights differ")
    page.get_by_role("checkbox", name="every 250 steps by itself").uncheck()
    page.get_by_role("slider", name="chance of a spike").fill("100")
    draw(page, [(0.1, 0.1), (0.9, 0.4)])
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#clock")).to_have_text(re.compile(r"^Step \d{3,}, .* ms, sample 1$"))
    page.get_by_role("button", name="Pause").click()
    learnt = unpack_tensors(state_of(page), "the state")
    w = learnt[WEIGHTS]
    assert (w != initial[WEIGHTS]).any()
    expect(page.locator("#learnt")).to_contain_text(f"{(w != initial[WEIGHTS]).sum()} of 96 weights differ")
    expected = np.zeros((10, 20))
    for neuron in range(6):
        row, column = 5 * (neuron // 4), 5 * (neuron % 4)
        expected[row : row + 4, column : column + 4] = w[:, neuron].reshape(4, 4)
    tiles = opacity(page, "#matrix")
    shown = np.kron(np.array([[1, 1, 1, 1], [1, 1, 0, 0]]), np.pad(np.ones((4, 4)), (0, 1))) > 0
    assert tiles.shape == shown.shape
    assert not tiles[~shown].any()
    assert np.abs(tiles - 255 * (expected - w.min()) / (w.max() - w.min()))[shown].max() <= 1
    assert np.abs(tiles - before).max() > 20

    page.get_by_role("button", name="End of sample: normalise").click()
    expect(page.locator("#clock")).to_have_text(re.compile(", sample 2$"))
    state = unpack_tensors(state_of(page), "the state")
    np.testing.assert_allclose(state[WEIGHTS].sum(0), NORM, rtol=1e-5)
    for name, rested in initial.items():
        if name != WEIGHTS:
            np.testing.assert_array_equal(state[name], learnt[name] if name == "exc.theta" else rested, err_msg=name)
    assert (state["exc.theta"] != initial["exc.theta"]).any()
    page.get_by_role("button", name="Reset").click()
    assert unpack_tensors(state_of(page), "the state")[WEIGHTS].tolist() == initial[WEIGHTS].tolist()


def test_automatic_end_of_samples(learning_site: Path, serve: Serve, open_page: Open) -> None:
    """A sample ends after 250 steps, and the learnt weights are kept."""
    page = open_checked(open_page(), serve(learning_site))
    page.get_by_role("slider", name="chance of a spike").fill("100")
    page.get_by_role("button", name="Fill").click()
    page.get_by_role("slider", name="Speed").fill("85")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#clock")).to_have_text(re.compile(", sample [3-9]$"))
    page.get_by_role("button", name="Pause").click()
    step, sample = re.findall(r"Step ([\d,]+), .* sample (\d+)", page.locator("#clock").inner_text())[0]
    assert int(sample) == 1 + (int(step.replace(",", "")) - 1) // 250
    assert (
        page.locator("#learnt").inner_text().startswith("96 of 96 weights differ")
    )  # normalisation has changed all of them


def test_neurons_learn_the_drawings(serve: Serve, open_page: Open, tmp_path: Path, command: Command) -> None:
    """With the commands of docs/browser.md, each drawing is learnt by another neuron. ``SCREENSHOTS=1`` saves a picture."""
    torch.manual_seed(0)
    options = ["--n", "16", "--set", "n_input=64", "--set", "plastic=true", "--format", "wasm", "--golden-steps", "10"]
    assert command("export", ROOT / "models" / "diehl_cook_2015.py", *options, "-o", tmp_path / "net")[0] == 0
    assert command("web", tmp_path / "net", "-o", tmp_path / "site", "--rate", "0.25")[0] == 0
    page = open_checked(open_page(viewport={"width": 700, "height": 900}), serve(tmp_path / "site"))
    page.get_by_role("slider", name="Speed").fill("100")
    drawings = []
    for digit in (0, 1, 2):
        page.get_by_role("button", name="Clear").click()
        draw(page, *DIGIT_STROKES[digit])
        before = page.locator("#clock").inner_text()
        page.get_by_role("button", name="Run", exact=True).click()
        sample = int(before.rpartition(" ")[2])
        page.wait_for_function(
            "(least) => Number(document.getElementById('clock').textContent.match(/sample (\\d+)/)[1]) >= least",
            arg=sample + 12,
        )
        page.get_by_role("button", name="Pause").click()
        drawings.append((opacity(page, "canvas.grid") > 0).reshape(8, 4, 8, 4).mean((1, 3)).ravel())
    w = unpack_tensors(state_of(page), "the state")[WEIGHTS]
    alike = np.corrcoef(np.array(drawings), w.T)[:3, 3:]
    assert alike.max(1).min() > 0.85
    assert len(set(alike.argmax(1))) == 3
    path = LEARNING if os.environ.get("SCREENSHOTS") else tmp_path / "learning.png"
    page.mouse.move(0, 0)
    page.locator("#weights").screenshot(path=path)
    assert 2_000 < path.stat().st_size < 100_000


def test_screenshot_for_the_documentation(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    """``SCREENSHOTS=1`` saves the screenshot in docs/."""
    page = open_checked(open_page(viewport={"width": 1000, "height": 900}), serve(DEMO))
    draw(page, *DIGIT_STROKES[7])
    page.get_by_role("button", name="Read the drawing").click()
    path = SCREENSHOT if os.environ.get("SCREENSHOTS") else tmp_path / "browser.png"
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < 250_000
