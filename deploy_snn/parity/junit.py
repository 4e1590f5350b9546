"""A comparison as a JUnit report, which CI systems show as tests."""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from deploy_snn.parity.report import ModelReport, ParityReport, RunReport


def junit_xml(report: ParityReport, *, strict: bool = False) -> str:
    """One test suite for each model, one test case for each run. What was not compared is a skipped test case.

    With ``strict``, coverage is a test case that fails if something is not covered.
    """
    root = Element("testsuites", name="deploy-snn parity")
    for model in report.models:
        suite = SubElement(root, "testsuite", name=model.model)
        for run in model.runs:
            _run(suite, model, run)
        for skip in model.skipped:
            case = SubElement(suite, "testcase", classname=model.model, name=skip.what)
            if skip.requested:
                SubElement(case, "failure", message=_text(skip.reason))
            else:
                SubElement(case, "skipped", message=_text(skip.reason))
        if model.error is not None:
            case = SubElement(suite, "testcase", classname=model.model, name="model")
            SubElement(case, "error", message=_text(model.error))
        elif not model.compared:
            case = SubElement(suite, "testcase", classname=model.model, name="runtimes")
            SubElement(case, "failure", message="no runtime was compared")
        uncovered = [str(item) for item in model.uncovered] + [f"{name} never fired" for name in model.silent]
        case = SubElement(suite, "testcase", classname=model.model, name="coverage")
        if strict and uncovered:
            SubElement(case, "failure", message=f"{len(uncovered)} not covered").text = _text("\n".join(uncovered))
        elif uncovered:
            SubElement(case, "system-out").text = _text("\n".join(uncovered))
        kinds = {tag: sum(case.find(tag) is not None for case in suite) for tag in ("failure", "error", "skipped")}
        suite.attrib |= {
            "tests": str(len(suite)),
            "failures": str(kinds["failure"]),
            "errors": str(kinds["error"]),
            "skipped": str(kinds["skipped"]),
        }
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _run(suite: Element, model: ModelReport, run: RunReport) -> None:
    name = " ".join(
        filter(None, [run.runtime, run.mode, run.stimulus, run.stimulus and f"batch {run.batch} seed {run.seed}"])
    )
    case = SubElement(
        suite, "testcase", classname=model.model, name=name, time=f"{run.steps * run.microseconds_a_step / 1e6:.6f}"
    )
    if run.error is not None:
        SubElement(case, "error", message=_text(run.error))
    elif run.divergence is not None:
        d = run.divergence
        message = f"{d.tensor} differs at step {d.step}: expected {d.expected}, actual {d.actual}"
        SubElement(case, "failure", message=_text(message)).text = _text(d.model_dump_json(indent=2))


def _text(text: str) -> str:
    """Text without the control characters that XML cannot hold."""
    return "".join(c for c in text if c in "\n\t" or ord(c) >= 32)
