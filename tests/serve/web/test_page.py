"""The page of ``deploy-snn web`` in a browser: what it shows, and what it refuses."""

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
    """A layer of LIF neurons behind nine inputs, each of which reaches one neuron of its own."""
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


def opened(page: Page, address: str) -> Page:
    """The page, after its self-check, at rest."""
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


def put(page: Page, name: str, data: bytes) -> None:
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
    """The opacity of the pixels of a canvas, from 0 to 255."""
    height, width, alpha = page.evaluate(OPACITY, canvas)
    return np.array(alpha).reshape(height, width)


def test_it_runs_steps_and_resets(site: Path, serve: Serve, open_page: Open) -> None:
    """One input, painted with the mouse, drives one neuron; the picture shows its spikes."""
    page = opened(open_page(), serve(site))
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


def test_the_raster_moves_as_it_is_drawn_anew(site: Path, serve: Serve, open_page: Open) -> None:
    """A picture that moved with each frame for longer than it shows is that which a change of the window draws."""
    page = opened(open_page(), serve(site))
    page.get_by_role("slider", name="chance of a spike").fill("20")
    page.get_by_role("button", name="Fill").click()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#clock")).to_have_text(re.compile(r"^Step ([5-9]\d\d|\d{4,}), "))
    page.get_by_role("button", name="Pause").click()
    pictures = []
    for _ in range(2):
        pictures.append(opacity(page, "#raster") > 0)
        page.evaluate("dispatchEvent(new Event('resize'))")
    moved, anew = pictures
    assert moved.mean() > 0.02
    for one, other in ((moved, anew), (anew, moved)):  # a column may be a pixel wider or narrower
        near = other | np.roll(other, 1, axis=1) | np.roll(other, -1, axis=1)
        assert (one & ~near).sum() == 0


def test_the_keyboard_paints_and_a_reset_starts_anew(site: Path, bundle: Bundle, serve: Serve, open_page: Open) -> None:
    page = opened(open_page(), serve(site))
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


def test_the_state_goes_on_in_run_and_back(
    site: Path, bundle: Bundle, serve: Serve, open_page: Open, command: Command
) -> None:
    """Page, then ``deploy-snn run``, then page: the same state as in the page alone, with every input driven."""
    page, tmp_path = opened(open_page(), serve(site)), site.parent
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
    put(page, "run.safetensors", files["run"].read_bytes())
    expect(page.locator("#clock")).to_have_text("Step 0, 0 ms")
    steps(3)
    assert state_of(page) == alone

    for data, message in (
        (b"nothing", "the file cannot be read as .safetensors: it is too short"),
        (pack_tensors({"v": np.zeros(3, np.float32)}), "unknown state 'v'"),
        (pack_tensors(bundle.initial_state(2)), "two.safetensors holds the state of 2 rows; this page runs one"),
    ):
        put(page, "two.safetensors", data)
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
def test_damage_is_said_in_one_sentence(
    damage: Callable[[Path], None], message: str, site: Path, serve: Serve, open_page: Open
) -> None:
    damage(site)
    page = open_page()
    page.goto(serve(site))
    expect(page.locator("#status")).to_have_text("The network does not run.")
    expect(page.get_by_role("alert")).to_contain_text(message)
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_disabled()


def test_pages_and_module_are_small_and_ask_no_other_host(site: Path) -> None:
    own = sum(path.stat().st_size for path in site.iterdir() if path.suffix in (".html", ".js", ".css"))
    assert own < 150_000
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', (site / "index.html").read_text())
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert not re.search(r"https?:|\*|unsafe-inline|'unsafe-eval'", policy[1])


def test_an_existing_folder_of_others_is_kept(site: Path, bundle: Bundle, command: Command, tmp_path: Path) -> None:
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


def axe(page: Page) -> list[str]:
    """What axe-core finds. The page's own policy allows no such script, so it is evaluated from outside."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [f"{violation['id']}: {node['html']}" for violation in found["violations"] for node in violation["nodes"]]


def arc(x: float, y: float, width: float, height: float, *degrees: float) -> Stroke:
    """A part of an ellipse, clockwise, between two angles from the top."""
    angles = np.radians(np.linspace(*degrees, 20))
    return [(x + width * float(np.sin(angle)), y - height * float(np.cos(angle))) for angle in angles]


DRAWN: dict[int, list[Stroke]] = {  # without 9, which the network of the demo takes for an 8
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
def test_axe_finds_nothing(scheme: str, width: int, learning_site: Path, serve: Serve, open_page: Open) -> None:
    if not AXE.exists():
        pytest.skip("there is no axe-core: run npm install in serve/web")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    page = opened(open_page(**options), serve(learning_site))
    page.get_by_role("button", name="sample", exact=True).focus()
    expect(page.get_by_role("tooltip").filter(has_text="Sample:")).to_be_visible()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page = opened(open_page(**options), serve(DEMO))
    draw(page, *DRAWN[1])
    page.get_by_role("button", name="Read the drawing").click()
    assert axe(page) == []
    page.get_by_role("button", name="spike", exact=True).focus()
    expect(page.get_by_role("tooltip").filter(has_text="Spike:")).to_be_visible()
    assert axe(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("tooltip").filter(has_text="Spike:")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_drawn_digits_get_their_labels(serve: Serve, open_page: Open) -> None:
    page = opened(open_page(), serve(DEMO))
    expect(page.locator("#label")).to_have_text("Draw a digit.")
    for digit, strokes in DRAWN.items():
        draw(page, *strokes)
        page.get_by_role("button", name="Read the drawing").click()
        expect(page.locator("#label")).to_have_text(f"This looks like a {digit}.")
        bars = page.locator("#votes meter").evaluate_all("(bars) => bars.map((bar) => bar.value)")
        assert bars.index(max(bars)) == digit
        page.get_by_role("button", name="Clear").click()
    for digit in (0, 1, 4):  # in a corner, and small: the page moves and scales it
        draw(page, *([(0.6 * x, 0.6 * y) for x, y in stroke] for stroke in DRAWN[digit]))
        page.get_by_role("button", name="Read the drawing").click()
        expect(page.locator("#label")).to_have_text(f"This looks like a {digit}.")
        page.get_by_role("button", name="Clear").click()
    draw(page, *DRAWN[7])
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#label")).to_have_text(re.compile("This looks like"))
    page.get_by_role("button", name="Pause").click()


def test_a_finger_draws(serve: Serve, open_page: Open) -> None:
    page = opened(open_page(has_touch=True, viewport={"width": 390, "height": 800}), serve(DEMO))
    page.locator("canvas.grid").tap()
    page.get_by_role("button", name="Step", exact=True).click()
    expect(page.locator("#label")).to_have_text("Looking.")


def test_the_demo_is_what_the_package_writes() -> None:
    """`make web` writes it anew."""
    described = json.loads((DEMO / "site.json").read_text())
    assert described["readout"]["layer"] == "exc"
    for name in ("index.html", "style.css", "page.js", "deploy-snn.js", "deploy-snn.d.ts"):
        assert (DEMO / name).read_bytes() == (ROOT / "deploy_snn" / "web" / name).read_bytes(), f"{name}: run make web"
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 400_000


@pytest.fixture(scope="module")
def learning_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plastic Diehl & Cook on pictures of 4 x 4, which learns so fast that a few steps show it."""
    torch.manual_seed(0)
    model = load_model(ROOT / "models" / "diehl_cook_2015.py", n=6, n_input=16, plastic=True)
    assert isinstance(model, Network)
    model.layers["exc"].neuron.theta_plus.fill_(2.0)
    learning = next(connection for connection in model.connections if connection.plastic)
    learning.rule.nu.copy_(torch.tensor([1e-3, 5e-2]))
    learning.initial_weights().mul_(4)  # columns of more than the norm, so that few inputs drive spikes at once
    folder = tmp_path_factory.mktemp("learning")
    return write_site(export(model, folder / "plastic", formats=["wasm"], golden_steps=10), folder / "site")


WEIGHTS, NORM = "X_to_exc.w", 1.6


def test_weights_that_learn_are_a_picture(learning_site: Path, serve: Serve, open_page: Open) -> None:
    """The picture shows the weights as they are; the end of a sample scales them, and only what was learnt lasts."""
    page = opened(open_page(), serve(learning_site))
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


def test_samples_end_by_themselves(learning_site: Path, serve: Serve, open_page: Open) -> None:
    """Every 250 steps, and what was learnt before is still there."""
    page = opened(open_page(), serve(learning_site))
    page.get_by_role("slider", name="chance of a spike").fill("100")
    page.get_by_role("button", name="Fill").click()
    page.get_by_role("slider", name="Speed").fill("85")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#clock")).to_have_text(re.compile(", sample [3-9]$"))
    page.get_by_role("button", name="Pause").click()
    step, sample = re.findall(r"Step ([\d,]+), .* sample (\d+)", page.locator("#clock").inner_text())[0]
    assert int(sample) == 1 + (int(step.replace(",", "")) - 1) // 250
    assert page.locator("#learnt").inner_text().startswith("96 of 96 weights differ")  # all were scaled


def test_neurons_take_on_the_shapes_of_the_drawings(
    serve: Serve, open_page: Open, tmp_path: Path, command: Command
) -> None:
    """With the commands of docs/browser.md: for each drawing another neuron. ``SCREENSHOTS=1`` keeps the picture."""
    torch.manual_seed(0)
    options = ["--n", "16", "--set", "n_input=64", "--set", "plastic=true", "--format", "wasm", "--golden-steps", "10"]
    assert command("export", ROOT / "models" / "diehl_cook_2015.py", *options, "-o", tmp_path / "net")[0] == 0
    assert command("web", tmp_path / "net", "-o", tmp_path / "site", "--rate", "0.25")[0] == 0
    page = opened(open_page(viewport={"width": 700, "height": 900}), serve(tmp_path / "site"))
    page.get_by_role("slider", name="Speed").fill("100")
    drawings = []
    for digit in (0, 1, 2):
        page.get_by_role("button", name="Clear").click()
        draw(page, *DRAWN[digit])
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


def test_a_screenshot_for_the_documentation(serve: Serve, open_page: Open, tmp_path: Path) -> None:
    """``SCREENSHOTS=1`` keeps it in docs/."""
    page = opened(open_page(viewport={"width": 1000, "height": 900}), serve(DEMO))
    draw(page, *DRAWN[7])
    page.get_by_role("button", name="Read the drawing").click()
    path = SCREENSHOT if os.environ.get("SCREENSHOTS") else tmp_path / "browser.png"
    page.screenshot(path=path)
    assert 10_000 < path.stat().st_size < 250_000
