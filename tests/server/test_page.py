"""The live monitor in a browser, and the events that it reads."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

EXPORT = Path(__file__).parent.parent.parent / "export"
CHROMIUM = which("chromium-headless-shell") or which("chromium")
HOSTILE = "<img src=x onerror=\"document.title='taken'\">"
SHOWN_STEPS, LEFT, BELOW = 400, 80, 24  # the same numbers as in the page
SCALE = 4


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser page that must log no error, such as a violation of its content security policy."""
    opened = browser.new_page(device_scale_factor=SCALE)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    opened.close()
    # Network errors are not errors of the page.
    assert [line for line in errors if not line.startswith("Failed to load resource")] == []


def step(address: str, x: np.ndarray, **parameters: object) -> np.ndarray:
    """Step the model lif, and return the spikes of the first row, [T, 8]."""
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    body = {"inputs": [tensor], "parameters": parameters}
    answer = httpx.post(f"http://{address}/v2/models/lif/infer", json=body).raise_for_status().json()
    spikes = np.array(answer["outputs"][0]["data"]).reshape(x.shape)
    return spikes[:, 0] if x.ndim == 3 else spikes[:1]


def start_stream(address: str, name: str | int) -> None:
    """Start a stream with one step without spikes."""
    step(address, np.zeros((2, 8)), sequence_id=name, sequence_start=True)


def drive(steps: int, seed: int) -> np.ndarray:
    return 25 * np.random.default_rng(seed).random((steps, 2, 8), np.float32)


def row(page: Page, name: str | int) -> Any:
    return page.locator("#streams tbody tr").filter(has=page.get_by_role("button", name=str(name), exact=True))


def painted(page: Page, spikes: np.ndarray) -> np.ndarray:
    """Return where the raster shows a spike, [T, N], for the steps of ``spikes``."""
    steps, neurons = spikes.shape
    width, height = page.evaluate("[raster.width, raster.height]".replace("raster", "document.getElementById('raster')"))
    first = max(0, steps - SHOWN_STEPS)
    x = [LEFT * SCALE + (step - first + 0.5) * (width - LEFT * SCALE) / SHOWN_STEPS for step in range(first, steps)]
    y = [(neuron + 0.4) * (height - BELOW * SCALE) / neurons for neuron in range(neurons)]
    alpha = page.evaluate(
        """([xs, ys]) => {
            const canvas = document.getElementById("raster");
            const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return xs.map((x) => ys.map((y) => data[4 * (Math.floor(y) * canvas.width + Math.floor(x)) + 3]));
        }""",
        [x, y],
    )
    return np.array(alpha) > 127


def test_streams_rates_and_spikes(running: Callable, page: Page) -> None:
    """The page shows streams, rates and spikes as they change."""
    with running([EXPORT / "lif"]) as served:
        page.goto(f"http://{served.address}/")
        expect(page.locator("#status")).to_have_text("live")
        expect(page.locator("#note")).to_have_text("There are no streams.")
        start_stream(served.address, 7)
        expect(row(page, 7)).to_have_class("selected")
        start_stream(served.address, HOSTILE)
        row(page, HOSTILE).get_by_role("button").click()
        expect(page.locator("#title")).to_have_text(HOSTILE)
        expect(row(page, HOSTILE)).to_have_class("selected")
        expect(page.locator("#note")).to_have_text("Step 1, 1 ms")
        time.sleep(2.5)  # until the rates no longer include earlier steps

        both = drive(100, seed=0)
        spikes = [np.zeros((1, 8), bool), step(served.address, both, sequence_id=HOSTILE)]
        rates = httpx.get(f"http://{served.address}/metrics").text
        every = float(next(line for line in rates.splitlines() if line.startswith("deploy_snn_spikes_total")).split()[-1])
        expect(row(page, HOSTILE).locator("td").nth(3)).to_have_text(f"{every / (100 * 1e-3 * 2 * 8):.1f} Hz")
        expect(row(page, HOSTILE).locator("td").nth(2)).to_have_text("101")
        expect(row(page, 7).locator("td").nth(3)).to_have_text("\N{EN DASH}")

        for x in drive(10, seed=1):
            spikes.append(step(served.address, x, sequence_id=HOSTILE))
            step(served.address, x, sequence_id=7)  # another stream, which the raster must not show
        expect(page.locator("#note")).to_have_text("Step 111, 111 ms")
        known = np.concatenate(spikes)
        assert 20 < known.sum() < known.size / 2
        np.testing.assert_array_equal(painted(page, known), known)

        more = step(served.address, drive(500, seed=2), sequence_id=HOSTILE)
        expect(page.locator("#note")).to_have_text("Step 611, 611 ms")
        known = np.concatenate([known, more])
        np.testing.assert_array_equal(painted(page, known), known[-SHOWN_STEPS:])

        again = step(served.address, drive(50, seed=3), sequence_id=HOSTILE, sequence_start=True)
        expect(page.locator("#note")).to_have_text("Step 50, 50 ms")
        np.testing.assert_array_equal(painted(page, again), again)
        step(served.address, np.zeros((2, 8)), sequence_id=HOSTILE, sequence_end=True)
        expect(page.locator("#note")).to_have_text("This stream has ended or does not exist.")
        row(page, 7).get_by_role("button").click()
        expect(page.locator("#note")).to_have_text("Step 11, 11 ms")
        assert page.title() == "deploy_snn live monitor"


def test_a_token_and_a_restart(running: Callable, page: Page, free_port: Callable[[], int]) -> None:
    """The page asks for the token, and reconnects after the server has restarted."""
    secret, port = {"environment": {"DEPLOY_SNN_TOKEN": "secret"}}, free_port()
    with running([EXPORT / "lif"], port=port, **secret) as served:
        page.goto(f"http://{served.address}/")
        for guess in ("guess", "secret"):
            expect(page.locator("#status")).to_have_text("token required")
            expect(page.locator("main")).to_be_hidden()
            page.get_by_label("token").fill(guess)
            page.get_by_role("button", name="Connect").click()
        expect(page.locator("#status")).to_have_text("live")
        expect(page.locator("#models tbody td").first).to_have_text("lif")
        assert httpx.get(f"http://{served.address}/live").status_code == 401
    expect(page.locator("#status")).to_have_text("connection lost, reconnecting")
    with running([EXPORT / "lif"], port=port, **secret):
        expect(page.locator("#status")).to_have_text("live", timeout=15_000)


def test_live_clients_do_not_block_the_server(running: Callable) -> None:
    """A client of /live that does not read blocks neither others nor the shutdown, and the size of an event is limited."""
    with running([EXPORT / "lif"]) as served:
        start_stream(served.address, "busy")
        url = f"http://{served.address}/live?{urlencode({'model': 'lif', 'sequence': json.dumps('busy')})}"
        with httpx.stream("GET", url) as reading, httpx.stream("GET", url):
            frames = (json.loads(line.removeprefix("data: ")) for line in reading.iter_lines() if line)
            raster = next(frames)["raster"]
            assert raster == {
                "model": "lif",
                "sequence": "busy",
                "step": 1,
                "dt_ms": 1.0,
                "layers": [{"name": "s", "neurons": 8}],
                "spikes": [],
                "left_out": 0,
            }
            spikes = step(served.address, 1000 * drive(20_000, seed=0), sequence_id="busy")
            raster = next(frame["raster"] for frame in frames if frame["raster"]["spikes"])
            assert len(raster["spikes"]) == 20_000
            assert raster["left_out"] == spikes.sum() - 20_000 > 0
            assert raster["spikes"][:100] == (np.argwhere(spikes)[:100] + [1, 0]).tolist()
            served.process.terminate()
            begun = time.monotonic()
            served.process.wait(20)
            assert time.monotonic() - begun < 5
