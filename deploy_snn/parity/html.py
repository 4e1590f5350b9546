"""A comparison as one self-contained page: no scripts, no other files. Every text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from deploy_snn.parity.report import ModelReport, ParityReport, RunReport

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
table { border-collapse: collapse; margin: .5rem 0 } td, th { padding: .15rem .7rem; text-align: left }
th { border-bottom: 1px solid #999 } td.n { text-align: right } .ok { color: #116329 } .bad { color: #b3131b }
.warn { color: #7a5200 } code { font-size: 13px } svg { background: #fff; border: 1px solid #ccc; display: block }
figure { margin: .7rem 0 } figcaption, small { color: #555 } details { margin: .4rem 0 }
"""
WIDTH, HEIGHT = 800, 160


def html_page(report: ParityReport) -> str:
    """The whole report as an HTML document."""
    wrong = sum(not model.equal for model in report.models)
    verdict = f"{wrong} of {len(report.models)} models differ" if wrong else f"all {len(report.models)} models equal"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    body = "".join(map(_model, report.models))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>deploy-snn parity</title>'
        f"<style>{STYLE}</style></head><body><h1>Parity: {_mark(verdict, ok=report.equal)}</h1>"
        f"<p><small>{escape(versions)}</small></p>{body}</body></html>\n"
    )


def _model(model: ModelReport) -> str:
    parts = [f"<h2>{escape(model.model)}: {_mark('equal' if model.equal else 'different', ok=model.equal)}</h2>"]
    if model.error is not None:
        return parts[0] + f"<p class=bad>{escape(model.error)}</p>"
    stimuli = ", ".join(
        f"{s.stimulus} (batch {s.batch}, seed {s.seed}, {s.steps} steps, {s.spikes} spikes)" for s in model.stimuli
    )
    parts.append(f"<p>Against {escape(model.reference)}, on {escape(stimuli)}.</p>")
    parts.append(_runs(model.runs))
    parts += [_divergence(run) for run in model.runs if not run.equal]
    if model.skipped:
        parts.append(_list("Not compared", (f"{skip.what}: {skip.reason}" for skip in model.skipped)))
    parts += [f"<p class=warn>{escape(name)} never fired: its equality proves nothing.</p>" for name in model.silent]
    if model.coverage:
        done = len(model.coverage) - len(model.uncovered)
        if model.uncovered:
            parts.append(_list("Not covered", map(str, model.uncovered)))
        parts.append(_details(f"Coverage: {done} of {len(model.coverage)}", _list("", map(str, model.coverage))))
    for stimulus in model.stimuli:
        for name, events in stimulus.raster.items():
            figure = _raster(
                [(events, "#1b1f24")], stimulus.steps, f"{name} of the reference on {stimulus.stimulus}, row 0"
            )
            parts.append(_details(f"Spikes: {name}, {stimulus.stimulus}", figure))
    files = [[name, sha] for name, sha in model.files.items()]
    parts.append(_details("Files (SHA-256)", _table(["file", "SHA-256"], files)))
    return "".join(parts)


def _runs(runs: Sequence[RunReport]) -> str:
    head = ["runtime", "mode", "stimulus", "batch", "steps", "differ", "max abs", "max ulp", "\u00b5s/step", ""]
    rows = []
    for run in runs:
        floats = [tensor for tensor in run.tensors if tensor.max_abs is not None]
        rows.append(
            [
                run.runtime,
                run.mode,
                run.stimulus,
                run.batch,
                run.steps,
                sum(tensor.differing for tensor in run.tensors),
                f"{max((tensor.max_abs or 0 for tensor in floats), default=0):.2g}",
                max((tensor.max_ulp or 0 for tensor in floats), default=0),
                f"{run.microseconds_a_step:.0f}",
                "equal" if run.equal else "failed" if run.error else "differs",
            ]
        )
    return _table(head, rows)


def _divergence(run: RunReport) -> str:
    title = f"{run.runtime}, {run.mode}" + (f", {run.stimulus}" if run.stimulus else "")
    parts = [f"<h3 class=bad>{escape(title)}</h3>"]
    if run.error is not None:
        return parts[0] + f"<p>{escape(run.error)}</p>"
    if run.divergence is not None:
        fields = run.divergence.model_dump(exclude_none=True)
        parts.append(_table(["first divergence", ""], [[name, value] for name, value in fields.items() if value != {}]))
    for name, (expected, actual) in run.raster.items():
        missing, added = set(expected) - set(actual), set(actual) - set(expected)
        layers: list[tuple[Iterable[tuple[int, int]], str]] = [
            (set(expected) & set(actual), "#8a929c"),
            (missing, "#1250c4"),
            (added, "#b3131b"),
        ]
        caption = f"{name}: grey in both, blue {len(missing)} in the reference only, red {len(added)} in the runtime only"
        parts.append(_raster(layers, run.steps, caption))
    parts += [_curve(values, f"largest error of {name} at each step") for name, values in run.error_over_time.items()]
    return "".join(parts)


def _raster(layers: Sequence[tuple[Iterable[tuple[int, int]], str]], steps: int, caption: str) -> str:
    listed = [(sorted(events), colour) for events, colour in layers]
    neurons = max((neuron for events, _ in listed for _, neuron in events), default=0) + 1
    wide, high = WIDTH / max(steps, 1), HEIGHT / neurons
    marks = "".join(
        f'<path fill="{colour}" d="'
        + "".join(
            f"M{step * wide:.1f} {neuron * high:.1f}h{max(wide, 1.5):.1f}v{max(high, 1.5):.1f}h-{max(wide, 1.5):.1f}z"
            for step, neuron in events
        )
        + '"/>'
        for events, colour in listed
        if events
    )
    return _figure(marks, caption)


def _curve(values: Sequence[float], caption: str) -> str:
    largest = max(values, default=0) or 1
    points = " ".join(
        f"{index * WIDTH / max(len(values) - 1, 1):.1f},{HEIGHT - value / largest * (HEIGHT - 4):.1f}"
        for index, value in enumerate(values)
    )
    return _figure(f'<polyline fill="none" stroke="#b3131b" points="{points}"/>', f"{caption}, at most {largest:.3g}")


def _figure(marks: str, caption: str) -> str:
    text = escape(caption)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{text}">'
        f"{marks}</svg><figcaption>{text}</figcaption></figure>"
    )


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    cells = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{lines}</table>"


def _cell(value: object) -> str:
    side = " class=n" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
    return f"<td{side}>{escape(str(value))}</td>"


def _list(title: str, items: Iterable[str]) -> str:
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return head + "<ul>" + "".join(f"<li><code>{escape(item)}</code></li>" for item in items) + "</ul>"


def _details(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def _mark(text: str, *, ok: bool) -> str:
    return f"<span class={'ok' if ok else 'bad'}>{escape(text)}</span>"
