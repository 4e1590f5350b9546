"""ExecuTorch, OpenVINO, IREE, MNN, LiteRT: equal bits in every mode, faults that parity finds, traps that still exist."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_array_equal

import deploy_snn
from deploy_snn.bundle import Bundle
from deploy_snn.bundle.trace import at
from deploy_snn.contract import Contract, Role
from deploy_snn.eager import record
from deploy_snn.errors import InvalidInput, Unavailable
from deploy_snn.network import Network, Sparse
from deploy_snn.neurons import Input, LIFNodes
from deploy_snn.parity import (
    Lockstep,
    Plan,
    Request,
    RunReport,
    Tolerance,
    compare_runtimes,
    make_stimulus,
    record_reference,
)
from deploy_snn.reference import reference_program
from deploy_snn.runtimes import Runtime, find_runtime, unavailable_reason

MODELS = Path(__file__).parent.parent.parent / "models"
EXACT = Tolerance(atol=0, rtol=0)
MENDED = "this trap is gone: the page docs/runtimes.md must be changed"


def sparse_network() -> Network:
    torch.manual_seed(0)
    w = (torch.rand(12, 7) < 0.5) * torch.randint(-16, 48, (12, 7)) / 4
    network = Network()
    network.add_layer(Input(12), "X")
    network.add_layer(LIFNodes(7, traces=True), "out")
    network.add_connection(Sparse(w), "X", "out")
    return network


CASES: dict[str, tuple[Callable[[], Any], int | None]] = {
    "neuron": (lambda: deploy_snn.load_model("lif", n=6), None),
    "lower bound": (lambda: deploy_snn.load_model(MODELS / "adapting_population.py", n=6), None),  # it compares with Less
    "window": (lambda: deploy_snn.load_model("csrm", n=5, traces=True), None),
    "pooling": (lambda: deploy_snn.load_model(MODELS / "conv_lif.py", size=6, channels=2), 14),
    "competition": (lambda: deploy_snn.load_model(MODELS / "diehl_cook_2015.py", n=7, n_input=9), 14),
    "sparse": (sparse_network, None),
    "recorded": (lambda: deploy_snn.load_model(MODELS / "izhikevich_2003.py", n=10), None),  # a state is also an output
}
XNNPACK_CASES = ("window", "pooling")
RUNTIMES = ("executorch", "executorch-xnnpack", "openvino", "iree", "mnn", "litert")

Exported = Callable[[str, str], Bundle]

# Of ExecuTorch, torchao and OpenVINO themselves, when they are imported.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


def need(runtime: str) -> None:
    reason = unavailable_reason(runtime)
    if reason:
        pytest.skip(reason)


def need_cpu(*flags: str) -> None:
    known = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "").split()
    if not set(flags) & set(known):
        pytest.skip(f"this CPU has none of {', '.join(flags)}")


@pytest.fixture(scope="module")
def bundle_for(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """``bundle_for(runtime, case)``: a bundle of a model with the file that a runtime needs."""
    written: dict[tuple[str, str], Bundle] = {}

    def export(runtime: str, case: str) -> Bundle:
        format_ = runtime if runtime.startswith("executorch") else "onnx"
        if (format_, case) not in written:
            build, snap = CASES[case]
            torch.manual_seed(0)
            if format_ != "onnx":
                from deploy_snn.formats.executorch import Executorch, ExecutorchXnnpack

                kind = Executorch if format_ == "executorch" else ExecutorchXnnpack
                # A batch of 3 takes the sequence, in calls of 7 steps at most; a batch of 1 repeats the step.
                chosen: Any = kind(max_batch=3, sequence_batch=3, max_steps=7)
            else:
                chosen = "onnx"
            folder = tmp_path_factory.mktemp("other") / "bundle"
            written[format_, case] = deploy_snn.export(build(), folder, formats=[chosen], golden_steps=40, snap_bits=snap)
        return written[format_, case]

    return export


def compared(bundle: Bundle, runtime: Runtime, mode: Any = "free", stimulus: str = "poisson") -> RunReport:
    """The comparison of an open runtime with eager torch, bit by bit."""
    program = reference_program(bundle)
    recording = record_reference(program, make_stimulus(stimulus, Request(program, 60, 3, 0)))
    return Lockstep(recording, program, EXACT).run("candidate", runtime, mode)


@pytest.mark.parametrize(
    ("runtime", "case"),
    # Each export of ExecuTorch takes seconds.
    [(runtime, case) for runtime in RUNTIMES for case in CASES if runtime != "executorch-xnnpack" or case in XNNPACK_CASES],
)
def test_the_same_bits(runtime: str, case: str, bundle_for: Exported) -> None:
    """On all stimuli, in all modes, with one row and with three."""
    need(runtime)
    bundle = bundle_for(runtime, case)
    plan = Plan(runtimes=[runtime], stimulus=("golden", "poisson", "threshold"), batch=(1, 3), steps=60, tolerance=EXACT)
    report = compare_runtimes(bundle, plan)
    assert not report.skipped
    assert report.equal, next(run for run in report.runs if not run.equal)
    assert (report.compared, report.spikes > 0) == (15, True)


@pytest.mark.parametrize("runtime", ["executorch", "iree", "mnn"])
def test_swapped_states_are_found(runtime: str, bundle_for: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """These runtimes address tensors by place. States of one shape in another order are no error there."""
    need(runtime)
    bundle = bundle_for(runtime, "neuron")
    opened = find_runtime(runtime)(bundle)
    contract = bundle.contract.model_copy(update={"states": tuple(reversed(bundle.contract.states))})
    if runtime == "executorch":
        monkeypatch.setattr(opened, "contract", contract)
    else:
        monkeypatch.setattr(opened, "arguments", (*contract.inputs, *contract.states))
    assert not compared(bundle, opened, "locked").equal


def test_swapped_states_are_found_in_litert(bundle_for: Exported) -> None:
    """Its tensors have places, which our runtime finds by name."""
    need("litert")
    bundle = bundle_for("litert", "neuron")
    for way in ("inputs", "outputs"):
        opened = find_runtime("litert")(bundle)
        for batch in (1, 3):
            places = getattr(opened._open(batch), way)
            first, second = (spec.name if way == "inputs" else spec.next_name for spec in bundle.contract.states)
            places[first], places[second] = places[second], places[first]
        assert not compared(bundle, opened, "locked").equal


def test_file_with_other_names_or_axes_is_refused_by_litert(bundle_for: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    need("litert")
    from deploy_snn.runtimes import litert

    kind, convert = find_runtime("litert"), litert.convert
    pooling, neuron, window = (bundle_for("litert", case) for case in ("pooling", "neuron", "window"))
    monkeypatch.setattr(litert, "convert", lambda model, _: convert(model, ["none"]))
    with pytest.raises(
        Unavailable, match=r"the input 'X.x' as \[1, 6, 6, 1\] instead of \[1, 1, 6, 6\]: other sizes, or another order"
    ):
        kind(pooling)
    other = (window.path / "step.onnx").read_bytes()
    monkeypatch.setattr(litert, "convert", lambda *_: convert(other, ["x"]))
    with pytest.raises(Unavailable, match=r"onnx2tf wrote the inputs .* instead of refrac_count, v, x"):
        kind(neuron)
    details = {"v": {"name": "trace", "shape": [1, 6]}}
    with pytest.raises(RuntimeError, match="wrote the input 'v' to the tensor 'trace'"):
        litert._places("input", {"v": neuron.contract.states[0]}, details, 1)


def test_operator_that_litert_does_not_have_is_a_reason(bundle_for: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnx2tf writes an operator that it does not know to the file, as one of a custom kind, and reports no error."""
    need("litert")
    from deploy_snn.runtimes.litert import LiteRt

    def load(self: LiteRt, model: Any) -> None:
        node = next(node for node in model.graph.node if node.op_type == "GreaterOrEqual")
        node.op_type, node.domain = "Unknown", "other"
        original(self, model)

    original = LiteRt.load
    monkeypatch.setattr(LiteRt, "load", load)
    report = compare_runtimes(bundle_for("litert", "neuron"), Plan(runtimes=["litert"], steps=5))
    assert (report.compared, report.exit_status) == (0, 3)
    assert report.skipped[0].reason.startswith("LiteRT cannot run")


def test_onnx2tf_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It gets a file of its own, and none of our Python's packages; the last line with an error is the reason."""
    from deploy_snn.runtimes.onnx2tf import NO_ONNX2TF, VARIABLE, convert

    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(RuntimeError) as raised:
        convert(b"", [])
    assert str(raised.value) == NO_ONNX2TF
    command = tmp_path / "onnx2tf"
    command.write_text(
        '#!/bin/sh\n[ -z "$PYTHONPATH" ] && [ "$(cat step.onnx)" = model ] && echo "ERROR: no Foo"; echo end\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(command))
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with pytest.raises(RuntimeError, match=r"onnx2tf fails with status 0: ERROR: no Foo$"):
        convert(b"model", ["x"])


def test_order_of_executorch_is_that_of_the_contract(bundle_for: Exported) -> None:
    need("executorch")
    from deploy_snn.formats.executorch import _check_order
    from deploy_snn.lowering import Lowered

    program = reference_program(bundle_for("executorch", "neuron"))
    contract = program.contract
    captured = Lowered(program, name="lif", golden=None).bounded_step(2)
    _check_order(captured, contract)
    with pytest.raises(AssertionError):
        _check_order(captured, contract.model_copy(update={"states": tuple(reversed(contract.states))}))


def test_bounds_of_executorch_come_from_its_file(bundle_for: Exported, tmp_path: Path) -> None:
    """The manifest's section is not needed, a larger batch is refused, and so is a file of another shape."""
    need("executorch")
    bundle = bundle_for("executorch", "neuron")
    copy = Path(shutil.copytree(bundle.path, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["formats"]["executorch"] = {}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    without = Bundle.open(copy)
    assert compare_runtimes(without, Plan(runtimes=["executorch"], steps=20)).equal
    opened = find_runtime("executorch")(without)
    opened.start(without.initial_state(4))
    with pytest.raises(
        InvalidInput, match=r"batch 4, but model.pte was exported for at most 3: export it with max_batch=4"
    ):
        opened.step({"x": torch.ones(4, 6).numpy()})

    tensors = [
        spec.replaced(dtype="float32", role=Role.RECORD) if spec.name == "s" else spec for spec in bundle.contract.tensors
    ]
    records = [spec.model_dump(mode="json") for spec in tensors]
    opened = find_runtime("executorch")(bundle)
    opened.contract = Contract.model_validate(bundle.contract.model_dump(mode="json") | {"tensors": records})
    opened.start(bundle.initial_state(1))
    with pytest.raises(InvalidInput, match=r"result 0 of step is bool \[3, 6\], but the contract has s float32 \[3, 6\]"):
        opened.step({"x": torch.ones(1, 6).numpy()})

    other = bundle_for("executorch", "window")
    opened = find_runtime("executorch")(other)
    opened.contract = bundle.contract
    opened.start(bundle.initial_state(1))
    with pytest.raises(InvalidInput, match=r"step has \d arguments, but the contract lists 3"):
        opened.step({"x": torch.ones(1, 6).numpy()})


def test_batch_bound_from_the_command_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """Any batch up to the bound gives the bits of eager torch, one row more is refused with both numbers."""
    need("executorch")
    status, _, error = command(
        "export", "lif", "--n", 6, "--format", "executorch", "--max-batch", 5, "-o", tmp_path / "lif"
    )
    assert status == 0, error
    bundle = Bundle.open(tmp_path / "lif")
    assert bundle.manifest.formats["executorch"]["max_batch"] == 5
    program, session = reference_program(bundle), bundle.session("executorch")
    for batch in (1, 3, 5):
        inputs = make_stimulus("poisson", Request(program, 40, batch, 0)).inputs
        trace = record(program, inputs, bundle.initial_state(batch))
        assert trace.outputs["s"].any()
        session.reset(batch=batch)
        for step in range(40):
            assert_array_equal(session.step(at(inputs, step))["s"], trace.outputs["s"][step])
            assert_array_equal(session.state["v"], trace.states["v"][step])
        session.reset(batch=batch)
        assert_array_equal(session.run(inputs)["s"], trace.outputs["s"])
    session.reset(batch=6)
    with pytest.raises(
        InvalidInput, match=r"batch 6, but model.pte was exported for at most 5: export it with max_batch=6"
    ):
        session.step(torch.ones(6, 6).numpy())
    assert "step with a batch of 1 to 5; sequence with a batch of 1," in " ".join(
        command("inspect", tmp_path / "lif")[1].split()
    )


def test_executorch_file_of_another_model_is_an_error(bundle_for: Exported, tmp_path: Path) -> None:
    need("executorch")
    bundle, other = (bundle_for("executorch", case) for case in ("neuron", "window"))
    for data, message in (((other.path / "model.pte").read_bytes(), "contract"), (b"no program", "cannot be loaded")):
        copy = Path(shutil.copytree(bundle.path, tmp_path / message))
        (copy / "model.pte").write_bytes(data)
        manifest = json.loads((copy / "manifest.json").read_text())
        del manifest["files"]["model.pte"]["sha256"], manifest["files"]["model.pte"]["bytes"]
        from deploy_snn.bundle.bundle import file_record

        manifest["files"]["model.pte"] = file_record(copy / "model.pte").model_dump()
        (copy / "manifest.json").write_text(json.dumps(manifest))
        opened = find_runtime("executorch")(Bundle.open(copy))
        opened.start(bundle.initial_state(1))
        with pytest.raises(InvalidInput, match=message):
            opened.step({"x": torch.ones(1, 6).numpy()})


@pytest.mark.parametrize("options", [{"max_batch": 1}, {"sequence_batch": 0}, {"max_steps": 2}])
def test_bounds_that_cannot_be_exported(options: dict[str, int]) -> None:
    from deploy_snn.formats.executorch import Executorch

    with pytest.raises(InvalidInput, match=rf"{next(iter(options))}=\d: expected at least"):
        Executorch(**options)


@pytest.mark.parametrize("runtime", ["executorch", "openvino", "iree", "mnn", "litert"])
def test_state_belongs_to_the_caller(runtime: str, bundle_for: Exported) -> None:
    """Later steps change neither the outputs nor the state that a runtime returned before."""
    need(runtime)
    bundle = bundle_for(runtime, "neuron")
    inputs = make_stimulus("poisson", Request(reference_program(bundle), 20, 2, 1)).inputs
    trace = record(reference_program(bundle), inputs, bundle.initial_state(2))
    opened = find_runtime(runtime)(bundle)
    opened.start(bundle.initial_state(2))
    kept = [opened.step(at(inputs, step)) | opened.state() for step in range(20)]
    for step, now in enumerate(kept):
        for name, array in now.items():
            assert_array_equal(array, (trace.outputs | trace.states)[name][step])


def test_unsupported_model_is_not_compared(bundle_for: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that a library does not have is a reason, and no mismatch."""
    need("openvino")
    from deploy_snn.runtimes.openvino import OpenVino

    def fail(*_: object) -> None:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(OpenVino, "load", fail)
    report = compare_runtimes(bundle_for("openvino", "neuron"), Plan(runtimes=["openvino"], steps=5))
    assert (report.compared, report.exit_status) == (0, 3)
    assert "OpenVINO cannot run" in report.skipped[0].reason
    assert report.skipped[0].reason.endswith("no such operator")


def test_low_precision_in_openvino_is_found(bundle_for: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    need("openvino")
    need_cpu("avx512bw")  # below it, OpenVINO computes in float32 whatever the hint says
    from deploy_snn.runtimes.openvino import EXACT as SETTINGS
    from deploy_snn.runtimes.openvino import OpenVino

    monkeypatch.setattr(OpenVino, "options", SETTINGS | {"INFERENCE_PRECISION_HINT": "bf16"})
    bundle = bundle_for("openvino", "pooling")
    report = compared(bundle, OpenVino(bundle), "locked")
    assert not report.equal
    assert max(tensor.max_ulp or 0 for tensor in report.tensors) > 100


def test_trap_openvino_folds_constants(bundle_for: Exported) -> None:
    """OpenVINO's defaults re-associate the parameters, so that potentials differ in their last bits."""
    need("openvino-default")
    for case in ("neuron", "lower bound"):
        bundle = bundle_for("openvino-default", case)
        report = compared(bundle, find_runtime("openvino-default")(bundle), "locked")
        if not report.equal:
            return
    pytest.fail(MENDED)


def test_trap_openvino_computes_in_bfloat16(bundle_for: Exported) -> None:
    """On a CPU with bfloat16, OpenVINO's default rounds weights and drives to 8 bits, and spikes are wrong."""
    need("openvino-default")
    need_cpu("avx512_bf16", "amx_bf16")
    bundle = bundle_for("openvino-default", "pooling")
    report = compared(bundle, find_runtime("openvino-default")(bundle), "free")
    assert any(tensor.differing for tensor in report.tensors if tensor.dtype == "bool"), MENDED


def test_trap_iree_fuses_multiply_add(bundle_for: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a CPU with FMA, as "host" is one on most machines, IREE fuses products and sums."""
    need("iree")
    need_cpu("fma")
    from deploy_snn.runtimes.iree import Iree

    bundle = bundle_for("iree", "neuron")
    for features, equal in (("-fma", True), ("+fma", False)):
        flags = ("--iree-llvmcpu-target-cpu=x86-64-v3", f"--iree-llvmcpu-target-cpu-features={features}")
        monkeypatch.setattr(Iree, "flags", flags)
        assert compared(bundle, Iree(bundle), "free").equal is equal, MENDED


def test_trap_iree_flushes_denormals(bundle_for: Exported) -> None:
    need("iree")
    bundle = bundle_for("iree", "sparse")
    opened, start = find_runtime("iree")(bundle), bundle.initial_state(1)
    small = start | {"out.trace": torch.full((1, 7), 1e-39).numpy()}
    opened.start(small)
    opened.step({"X.x": torch.zeros(1, 12).numpy()})
    assert not opened.state()["out.trace"].any(), MENDED


def test_trap_mnn_compares_bits(bundle_for: Exported) -> None:
    """MNN's Less is wrong for negative numbers. Its default precision makes no difference on this CPU."""
    need("mnn-default")
    bundle = bundle_for("mnn-default", "lower bound")
    report = compared(bundle, find_runtime("mnn-default")(bundle), "locked")
    assert not report.equal, MENDED


def test_trap_litert_torch_returns_indices_of_zero() -> None:
    """Its max pooling returns the right values, with 0 for every index, and reports no error."""
    reason = "the package litert-torch is not installed: make .venv/litert-torch"
    litert_torch = pytest.importorskip("litert_torch", reason=reason)

    class Pooling(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return torch.nn.functional.max_pool2d(x, 2, return_indices=True)

    fields = torch.arange(16.0).reshape(1, 1, 4, 4)
    values, indices = Pooling()(fields)
    converted_values, converted_indices = litert_torch.convert(Pooling().eval(), (fields,))(fields)
    assert_array_equal(converted_values, values)
    assert indices.ravel().tolist() == [5, 7, 13, 15]
    assert not converted_indices.any(), MENDED


def test_refused_batch_of_the_state(bundle_for: Exported) -> None:
    """A batch of the inputs that differs from that of the state is an error, and nothing is broadcast."""
    need("openvino")
    bundle = bundle_for("openvino", "neuron")
    opened = find_runtime("openvino")(bundle)
    opened.start(bundle.initial_state(2))
    with pytest.raises(InvalidInput, match="batch"):
        opened.step({"x": torch.ones(1, 6).numpy()})
