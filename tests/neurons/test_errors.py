"""Invalid arguments of constructors and steps, and their error messages."""

import json
import re

import pytest
import torch
from torch import Tensor

from deploy_snn.contract import NEURONS as POPULATION
from deploy_snn.contract import Axis, Contract, Role
from deploy_snn.errors import InvalidInput
from deploy_snn.neurons import (
    NEURONS,
    AdaptiveLIFNodes,
    BoostedLIFNodes,
    CSRMNodes,
    DelayLine,
    DiehlAndCookNodes,
    DifferenceLIFNodes,
    Integrator,
    IzhikevichNodes,
    LIFNodes,
    NeuronProgram,
    Nodes,
    SRM0Nodes,
    find_neuron,
    keywords,
)

CONSTRUCTIONS = [
    (LIFNodes, {"n": None}, "the number of neurons is missing; pass n=100 or shape=(10, 10)"),
    (LIFNodes, {"n": 7, "shape": (2, 3)}, "n=7 and shape=[2, 3] contradict each other: the shape has 6 neurons"),
    (LIFNodes, {"n": 0}, "shape=[0]: every size must be at least 1"),
    (LIFNodes, {"n": None, "shape": (3, -1)}, "shape=[3, -1]: every size must be at least 1"),
    (LIFNodes, {"n": None, "shape": ()}, "every size must be at least 1"),
    (LIFNodes, {"thresh": float("nan")}, "LIFNodes(thresh=nan): must not be NaN"),
    (LIFNodes, {"rest": torch.tensor([1.0, float("nan"), 2.0, 3.0])}, "LIFNodes(rest=[4]): must not be NaN"),
    (LIFNodes, {"thresh": torch.zeros(3)}, "LIFNodes(thresh=[3]): the tensor must broadcast to the neurons' shape [4]"),
    (
        LIFNodes,
        {"n": None, "shape": (2, 2), "lbound": torch.zeros(4)},
        "LIFNodes(lbound=[4]): the tensor must broadcast",
    ),
    (LIFNodes, {"reset": torch.zeros(1, 4)}, "LIFNodes(reset=[1, 4]): the tensor must broadcast"),
    (LIFNodes, {"refrac": "5"}, "LIFNodes(refrac=5): expected a number or a tensor"),
    (LIFNodes, {"thresh": None}, "LIFNodes(thresh=None): expected a number or a tensor"),
    (LIFNodes, {"tc_decay": 0}, "LIFNodes(tc_decay=0): must be greater than 0"),
    (LIFNodes, {"tc_trace": -20.0}, "LIFNodes(tc_trace=-20.0): must be greater than 0"),
    (
        AdaptiveLIFNodes,
        {"tc_theta_decay": torch.tensor([1.0, 0.0, 1.0, 1.0])},
        "(tc_theta_decay=[4]): must be greater than 0",
    ),
    (CSRMNodes, {"tau": 0.0}, "CSRMNodes(tau=0.0): must be greater than 0"),
    (LIFNodes, {"dt": 0.0}, "LIFNodes(dt=0.0): must be greater than 0"),
    (LIFNodes, {"dt": -1.0}, "LIFNodes(dt=-1.0): must be greater than 0"),
    (LIFNodes, {"dt": float("inf")}, "dt=inf: expected one finite number of ms"),
    (LIFNodes, {"dt": float("nan")}, "LIFNodes(dt=nan): must not be NaN"),
    (LIFNodes, {"dt": torch.ones(4)}, "expected one finite number of ms for all neurons"),
    (
        CSRMNodes,
        {"responseKernel": "BetaKernel"},
        "unknown kernel 'BetaKernel'; choose from AlphaKernel, AlphaKernelSLAYER",
    ),
    (CSRMNodes, {"refractoryKernel": "AlphaKernel"}, "unknown kernel 'AlphaKernel'; choose from EtaKernel"),
    (CSRMNodes, {"res_window_size": 0}, "window of 0.0 ms: expected a finite length greater than 0"),
    (CSRMNodes, {"ref_window_size": float("inf")}, "window of inf ms: expected a finite length greater than 0"),
    (IzhikevichNodes, {"spike_at": "middle"}, "IzhikevichNodes(spike_at='middle'): expected 'start' or 'end'"),
    (DifferenceLIFNodes, {"reset_after": "lunch"}, "DifferenceLIFNodes(reset_after='lunch'): expected spike or leak"),
    (DelayLine, {"delay": 1.5}, "each delay must be a non-negative whole number of steps of 1.0 ms"),
    (
        DelayLine,
        {"delay": torch.tensor([0.0, 1.0, -1.0, 2.0])},
        "each delay must be a non-negative whole number of steps of 1.0 ms",
    ),
    (Integrator, {"traces": True}, "Integrator(traces=True): a graded neuron has no spikes to trace"),
]


@pytest.mark.parametrize(("cls", "options", "sentence"), CONSTRUCTIONS)
def test_invalid_parameters(cls: type[Nodes], options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        cls(**{"n": 4} | options)


@pytest.mark.parametrize("name", NEURONS)
def test_unknown_keyword_lists_the_known_ones(name: str) -> None:
    cls = NEURONS[name]
    with pytest.raises(TypeError, match=re.escape(f"{cls.__name__} has no keyword ['tresh']; it has [")) as raised:
        cls(4, tresh=1.0)
    assert str(raised.value).endswith(f"{sorted(keywords(cls))}")


def test_unknown_neuron_lists_the_known_ones() -> None:
    assert find_neuron("LIFNodes") == find_neuron("lif") == ("lif", LIFNodes)
    with pytest.raises(InvalidInput, match="unknown neuron 'lyf'; choose from input, mcculloch-pitts, if, lif,"):
        find_neuron("lyf")


def x(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


LIF = LIFNodes(shape=(2, 3))
STATE = LIF.initial_state(4)
CSRM = CSRMNodes(3, res_window_size=5)
STEPS = [
    (LIF, (x(4, 6), STATE), "input 'x' is float32 [4, 6]; expected x float32 [batch, 2, 3]: it has 2 axes, not 3"),
    (LIF, (x(4, 3, 2), STATE), "axis 'neuron0' is 3, not 2"),
    (
        LIF,
        (x(4, 2, 3, dtype=torch.float64), STATE),
        "'x' is float64 [4, 2, 3]; expected x float32 [batch, 2, 3]: convert it",
    ),
    (LIF, (x(4, 2, 3, dtype=torch.bool), STATE), "'x' is bool [4, 2, 3]; expected x float32 [batch, 2, 3]: convert it"),
    (LIF, (x(0, 2, 3), STATE), "axis 'batch' is empty"),
    (
        LIF,
        (x(5, 2, 3), STATE),
        "state 'v' is float32 [4, 2, 3]; expected v float32 [batch, 2, 3]: axis 'batch' is 4, not 5",
    ),
    (
        LIF,
        (x(4, 2, 3), {"v": STATE["v"]}),
        "state 'refrac_count' is missing; expected v float32 [batch, 2, 3]; refrac_count",
    ),
    (LIF, (x(4, 2, 3), STATE | {"u": STATE["v"]}), "unknown state 'u'; expected v float32 [batch, 2, 3]; refrac_count"),
    (LIF, (x(4, 2, 3), STATE | {"v": STATE["v"].bool()}), "state 'v' is bool [4, 2, 3]; expected v float32"),
    (LIF, (x(4, 2, 3), STATE, x(4, 2, 3)), "unknown input 'noise'; expected x float32 [batch, 2, 3]"),
    (
        SRM0Nodes(3),
        (x(1, 3), SRM0Nodes(3).initial_state(1)),
        "input 'noise' is missing; expected x float32 [batch, 3]; noise",
    ),
    (DiehlAndCookNodes(3), (x(1, 3), DiehlAndCookNodes(3).initial_state(1)), "input 'noise' is missing"),
    (SRM0Nodes(3), (x(2, 3), SRM0Nodes(3).initial_state(2), x(1, 3)), "input 'noise' is float32 [1, 3]"),
    (CSRM, (x(1, 3), CSRM.initial_state(1)), "expected x float32 [batch, 5, 3]: it has 2 axes, not 3"),
    (CSRM, (x(1, 4, 3), CSRM.initial_state(1)), "axis 'window' is 4, not 5"),
    (
        AdaptiveLIFNodes(3),
        (x(2, 3), AdaptiveLIFNodes(3).initial_state(2) | {"theta": x(2, 3)}),
        "state 'theta' is float32 [2, 3]",
    ),
    (BoostedLIFNodes(3), (None, {}), "state 'v' is missing; expected v float32 [batch, 3]; refrac_count"),
]


@pytest.mark.parametrize(("neuron", "arguments", "sentence"), STEPS)
def test_invalid_step_arguments(neuron: Nodes, arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(sentence)):
        neuron(*arguments)


def test_invalid_arguments_after_valid_steps() -> None:
    lif = LIFNodes(3)
    _, state = lif(x(2, 3), lif.initial_state(2))
    _, state = lif(x(2, 3), state)
    for wrong in (x(3, 3), x(2, 3, dtype=torch.float64)):
        for _ in range(2):  # the same mistake is an error each time
            with pytest.raises(InvalidInput, match=r"input 'x'|state 'v'"):
                lif(wrong, state)


@pytest.mark.parametrize("name", [name for name in NEURONS if name != "boosted-lif"])
def test_step_without_a_drive_is_an_error(name: str) -> None:
    neuron = NEURONS[name](3)
    with pytest.raises(ValueError, match="x is None: this class cannot step without a drive"):
        neuron(None, neuron.initial_state(1))


def test_boosted_lif_without_a_drive_equals_a_zero_drive() -> None:
    neuron = BoostedLIFNodes(3, sum_input=True)
    start = {"v": torch.tensor([[1.0, 13.5, 12.0]]), "refrac_count": x(1, 3), "summed": torch.ones(1, 3)}
    (s, after), (expected, zeros) = neuron(None, start), neuron(x(1, 3), start)
    assert s.tolist() == expected.tolist() == [[False, True, False]]
    assert after.keys() == zeros.keys()
    assert all(torch.equal(after[key], zeros[key]) for key in zeros)


def test_empty_batch_or_sequence_is_an_error() -> None:
    program = NeuronProgram(SRM0Nodes(3))
    with pytest.raises(ValueError, match="batch=0: expected at least 1"):
        program.initial_state(0)
    state = program.initial_state(1)
    with pytest.raises(ValueError, match="the inputs are empty"):
        program.rollout({"x": x(0, 1, 3), "noise": x(0, 1, 3)}, state)
    with pytest.raises(ValueError, match="input noise has 2 steps, but the inputs before it have 4"):
        program.rollout({"x": x(4, 1, 3), "noise": x(2, 1, 3)}, state)


@pytest.mark.parametrize("name", NEURONS)
def test_the_contract_names_every_tensor_of_a_step(name: str) -> None:
    neuron = NEURONS[name](shape=(2, 3), traces=True, sum_input=True, dt=0.5)
    contract, state = neuron.contract, neuron.initial_state(4)
    assert {spec.name: spec.shape(batch=4) for spec in contract.states} == {k: tuple(v.shape) for k, v in state.items()}
    assert [spec.name for spec in contract.states][-2:] == ["trace", "summed"]
    assert [spec.name for spec in contract.inputs] == ["x", *(["noise"] if name in ("diehl-and-cook", "srm0") else [])]
    assert [(spec.name, spec.dtype, spec.role) for spec in contract.outputs] == [("s", "bool", Role.SPIKES)]
    assert contract.dt == 0.5
    assert contract.couples_batch == ("theta" in state)
    for spec in contract.tensors:
        assert spec.batch_axis == (None if spec.name == "theta" else 0)
        assert spec.axes[-2:] == (Axis(name="neuron0", size=2), Axis(name="neuron1", size=3))
        assert POPULATION not in spec.axes
        windowed = name == "csrm" and spec.name in ("x", "last_spikes")
        assert spec.window_axis == (1 if windowed else None)
        assert spec.next_name == f"next.{spec.name}"
    frozen = NEURONS[name](3, learning=False).contract
    assert "theta" not in {spec.name for spec in frozen.states}
    assert Contract.parse(contract.model_dump_json(), "here") == contract


def broken(**changes: object) -> str:
    return json.dumps(json.loads(LIF.contract.model_dump_json()) | changes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[]", "object"),
        ('{"tensors": []}', "dt: Field required"),
        (broken(dt=0), "dt: Input should be greater than 0"),
        (broken(dt="fast"), "dt: Input should be a valid number"),
        (LIF.contract.model_dump_json().replace('"dt":1.0', '"dt":Infinity'), "Infinity is not JSON"),
        (broken(extra=1), "extra: Extra inputs are not permitted"),
        (broken(tensors=[{"name": "v", "role": "ghost"}]), "tensors.0.role: Input should be 'drive', 'noise'"),
        (broken(tensors=[{"name": "", "role": "state"}]), "tensors.0.name: String should have at least 1 character"),
        (
            broken(tensors=[{"name": "v", "role": "state", "axes": [{"name": "n", "size": 0}]}]),
            "axes.0.size: Input should be",
        ),
        (
            broken(tensors=[{"name": "v", "role": "state", "dtype": "int8"}]),
            "tensors.0.dtype: Input should be 'float32' or",
        ),
    ],
)
def test_invalid_contract_error_names_the_file(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=r"model\.pt holds no valid contract: .*" + re.escape(problem)):
        Contract.parse(text, "model.pt")
