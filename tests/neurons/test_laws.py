"""Laws of every class: split = whole, batch = single rows, reset = fresh, arguments not mutated, scripted = eager."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deploy_snn.neurons import NEURONS, NeuronProgram, Nodes
from deploy_snn.torch_internals import script

STEPS = 10
WITH_THETA = ("adaptive-lif", "diehl-and-cook", "csrm")
Tensors = dict[str, Tensor]


def one_of(*values: object) -> st.SearchStrategy[object]:
    return st.sampled_from(values)


# "each" is a tensor with one value per neuron, between the two numbers.
COMMON = {
    "traces": st.booleans(),
    "traces_additive": st.booleans(),
    "tc_trace": one_of(5.0, ("each", 2.0, 30.0)),
    "trace_scale": one_of(0.3, 1, ("each", 0.5, 2.0)),
    "sum_input": st.booleans(),
    "learning": st.booleans(),
}
MEMBRANE = COMMON | {"lbound": one_of(None, -68.0, -63.0, ("each", -70.0, -60.0))}
REFRACTORY = MEMBRANE | {
    "thresh": one_of(-52, ("each", -58.0, -50.0)),
    "reset": one_of(-65, ("each", -67.0, -62.0)),
    "refrac": one_of(0, 1, 3, ("each", 0.0, 4.0)),
}
LEAKY = REFRACTORY | {"rest": one_of(-65, ("each", -66.0, -61.0)), "tc_decay": one_of(20, ("each", 3.0, 90.0))}
THETA = {"theta_plus": one_of(0.5, ("each", 0.1, 2.0)), "tc_theta_decay": one_of(1e7, 30.0)}
DIFFERENCE = COMMON | {
    "thresh": one_of(7, ("each", 3.0, 12.0)),
    "inclusive": st.booleans(),
    "reset": one_of(None, -1.0, ("each", -2.0, 2.0)),
    "reset_after": one_of("spike", "leak"),
    "decay": one_of(None, 0.8, ("each", 0.0, 1.0)),
    "rest": one_of(None, -1.0, ("each", -2.0, 2.0)),
    "gain": one_of(None, 0.5, ("each", 0.5, 2.0)),
}
# A class that is not listed here uses the common options, and defaults for its own.
OPTIONS: dict[str, dict[str, st.SearchStrategy[object]]] = {
    "input": COMMON,
    "mcculloch-pitts": COMMON | {"thresh": one_of(1, ("each", -1.0, 2.0))},
    "if": REFRACTORY,
    "lif": LEAKY,
    "boosted-lif": COMMON | {"thresh": one_of(13, ("each", 4.0, 14.0)), "refrac": one_of(0, 2), "tc_decay": one_of(20.0)},
    "current-lif": LEAKY | {"tc_i_decay": one_of(2, ("each", 1.0, 4.0))},
    "adaptive-lif": LEAKY | THETA,
    "diehl-and-cook": LEAKY | THETA | {"one_spike": st.booleans()},
    "izhikevich": MEMBRANE | {"excitatory": one_of(0, 0.6, 1), "thresh": one_of(30.0), "spike_at": one_of("start", "end")},
    "csrm": COMMON
    | THETA
    | {"thresh": one_of(8.0), "rest": one_of(-5.0), "lbound": one_of(None, -6.0), "tau": one_of(1, ("each", 0.5, 3.0))}
    | {"res_window_size": one_of(1.0, 4.0), "ref_window_size": one_of(1.0, 3.0)},
    "heaviside": COMMON | {"thresh": one_of(8, ("each", 4.0, 9.0))},
    "difference-lif": DIFFERENCE,
    "difference-current-lif": DIFFERENCE | {"i_decay": one_of(None, 0.5), "i_gain": one_of(None, 0.5, ("each", 0.2, 1.0))},
    "srm0": LEAKY | {"d_thresh": one_of(5, ("each", 1.0, 6.0)), "eps_0": one_of(1.0, 1.5), "rho_0": one_of(1, 0.4)},
    "subtractive-reset-if": REFRACTORY
    | {"thresh": one_of(8, ("each", 4.0, 9.0)), "reset": one_of(0, ("each", -2.0, 2.0)), "lbound": one_of(None, -3.0)},
}


@dataclass
class Scene:
    """A random population with options, and a seed for its inputs."""

    name: str
    shape: tuple[int, ...]
    dt: float
    seed: int
    options: dict[str, object]
    batch: int

    def neuron(self, shape: tuple[int, ...] | None = None) -> Nodes:
        """Build the population. Another shape of the same size gives the same neurons in the same order."""
        shape = shape or self.shape
        torch.manual_seed(self.seed)
        each = {
            key: torch.linspace(*value[1:], math.prod(shape)).reshape(shape) if isinstance(value, tuple) else value
            for key, value in self.options.items()
        }
        neuron = NEURONS[self.name](shape=shape, dt=self.dt, **each)
        if "theta" in neuron.state_dict():
            neuron.theta.copy_(torch.rand(math.prod(shape)).reshape(shape))
        if self.name == "csrm":  # on this grid sums are exact in any order, for a row and for a batch
            neuron.resKernel.copy_((neuron.resKernel * 256).round() / 256)
            neuron.refKernel.copy_((neuron.refKernel * 256).round() / 256)
        return neuron

    def inputs(self) -> Tensors:
        """Draw a sequence ``[T, B, ...]`` of every input that makes the class fire."""
        torch.manual_seed(self.seed + 1)
        contract = self.neuron().contract
        shapes = {spec.name: (STEPS, *spec.shape(batch=self.batch)) for spec in contract.inputs}
        mean, spread = {"mcculloch-pitts": (0.0, 2.0), "izhikevich": (60.0, 30.0)}.get(self.name, (6.0, 6.0))
        x = ((torch.randn(shapes["x"]) * spread + mean) * 16).round() / 16
        inputs = {"x": (x > 8).float() if self.name == "input" else x}
        return inputs | {name: torch.rand(shape) for name, shape in shapes.items() if name != "x"}


@st.composite
def scenes(draw: st.DrawFn, name: str, **fixed: object) -> Scene:
    return Scene(
        name=name,
        shape=draw(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)),
        dt=draw(one_of(1.0, 0.5, 0.1)),
        seed=draw(st.integers(0, 10_000)),
        options={key: draw(strategy) for key, strategy in OPTIONS.get(name, COMMON).items()} | fixed,
        batch=draw(st.integers(1, 4)),
    )


def check_law(law: Callable[..., None], *drawn: st.SearchStrategy[object], examples: int) -> None:
    """Check a law with drawn examples, which are the same in each run."""
    settings(max_examples=examples, deadline=None, derandomize=True)(given(*drawn)(law))()


def at(series: Tensors, step: int) -> Tensors:
    return {name: sequence[step] for name, sequence in series.items()}


def part(series: Tensors, start: int, stop: int) -> Tensors:
    return {name: sequence[start:stop] for name, sequence in series.items()}


def assert_same(actual: Tensors, expected: Tensors) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def run_steps(program: NeuronProgram, inputs: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
    """Step through a sequence. Return spikes ``[T, B, *shape]`` and the last state."""
    spikes = []
    for step in range(len(inputs["x"])):
        outputs, state = program(at(inputs, step), state)
        spikes.append(outputs["s"])
    return {"s": torch.stack(spikes)}, state


every_class = pytest.mark.parametrize("name", NEURONS)


@every_class
def test_decay_buffers_are_used(name: str) -> None:
    """A step reads the buffers of decay factors. It must not compute them again, since an importer may have set them."""
    changed: dict[str, bool] = {}

    def law(scene: Scene, decay: str) -> None:
        neuron = scene.neuron()
        inputs = scene.inputs()
        _, before = run_steps(NeuronProgram(neuron), inputs, neuron.initial_state(scene.batch))
        neuron.get_buffer(decay).mul_(0.5)
        _, after = run_steps(NeuronProgram(neuron), inputs, neuron.initial_state(scene.batch))
        differ = any(not torch.equal(before[state], after[state]) for state in before)
        changed[decay] = changed.get(decay, False) or differ

    always = {"traces": True, "sum_input": False, "learning": True}
    for decay in ("decay", "trace_decay", "theta_decay", "i_decay"):
        if decay in NEURONS[name](n=2, traces=True).state_dict():
            check_law(law, scenes(name, **always), st.just(decay), examples=5)
    assert all(changed.values()), changed


@every_class
def test_split_sequence_equals_the_whole(name: str) -> None:
    rates = []

    def law(scene: Scene, cut: int) -> None:
        program, inputs = NeuronProgram(scene.neuron()), scene.inputs()
        whole, last = run_steps(program, inputs, program.initial_state(scene.batch))
        for run in (run_steps, NeuronProgram.rollout):
            first, state = run(program, part(inputs, 0, cut), program.initial_state(scene.batch))
            second, state = run(program, part(inputs, cut, STEPS), state)
            assert_same({"s": torch.cat((first["s"], second["s"]))}, whole)
            assert_same(state, last)
        outputs, state = program.rollout(inputs, program.initial_state(scene.batch))
        assert_same(outputs, whole)
        assert_same(state, last)
        rates.append(whole["s"].float().mean())

    check_law(law, scenes(name), st.integers(1, STEPS - 1), examples=25)
    assert 0.02 < torch.stack(rates).mean() < 0.8, "too few or too many spikes for a useful test"


@every_class
def test_batch_equals_single_rows(name: str) -> None:
    def law(scene: Scene) -> None:
        program, inputs = NeuronProgram(scene.neuron()), scene.inputs()
        together, last = run_steps(program, inputs, program.initial_state(scene.batch))
        for row in range(scene.batch):
            row_inputs = {name: sequence[:, row : row + 1] for name, sequence in inputs.items()}
            alone, state = run_steps(program, row_inputs, program.initial_state(1))
            assert torch.equal(alone["s"], together["s"][:, row : row + 1])
            assert_same(state, {name: value[row : row + 1] for name, value in last.items()})

    # With learning, all rows share theta, so a row depends on the others.
    check_law(law, scenes(name, **({"learning": False} if name in WITH_THETA else {})), examples=50)


@pytest.mark.parametrize("name", WITH_THETA)
def test_theta_counts_the_spikes_of_the_batch(name: str) -> None:
    shared = []

    def law(scene: Scene) -> None:
        neuron, inputs = scene.neuron(), scene.inputs()
        state = neuron.initial_state(scene.batch)
        for step in range(STEPS):
            now = at(inputs, step)
            value, threshold = neuron.threshold_inputs(now["x"], state, now.get("noise"))
            crossed = (value >= threshold).float().sum(0)  # with one_spike, also neurons that lost the draw
            expected = state["theta"] * neuron.theta_decay + neuron.theta_plus * crossed
            _, state = neuron(now["x"], state, now.get("noise"))
            assert torch.equal(state["theta"], expected)
            shared.append(crossed.max())

    check_law(law, scenes(name, learning=True), examples=25)
    assert max(shared) > 1


@every_class
def test_spikes_match_threshold_inputs(name: str) -> None:
    def law(scene: Scene) -> None:
        neuron, inputs = scene.neuron(), scene.inputs()
        state = neuron.initial_state(scene.batch)
        for step in range(STEPS):
            now = at(inputs, step)
            value, threshold = neuron.threshold_inputs(now["x"], state, now.get("noise"))
            assert value.shape == (scene.batch, *scene.shape)
            strict = name in ("srm0", "heaviside") or not getattr(neuron, "inclusive", True)
            crossed = value > threshold if strict else value >= threshold
            s, state = neuron(now["x"], state, now.get("noise"))
            if name == "diehl-and-cook" and neuron.one_spike:
                assert not (s & ~crossed).any()
                assert torch.equal(s.flatten(1).sum(1), crossed.flatten(1).any(1).long())
            else:
                assert torch.equal(s, crossed)

    check_law(law, scenes(name), examples=25)


@every_class
def test_reset_equals_a_new_population(name: str) -> None:
    def law(scene: Scene) -> None:
        neuron = scene.neuron()
        program = NeuronProgram(neuron)
        used = program.initial_state(scene.batch)
        _, last = run_steps(program, scene.inputs(), used)
        for tensor in [*used.values(), *last.values()]:
            tensor.fill_(7)  # changing a state in place must not affect the module
        assert_same(program.initial_state(scene.batch), NeuronProgram(scene.neuron()).initial_state(scene.batch))

    check_law(law, scenes(name), examples=8)


@every_class
def test_a_step_does_not_change_its_arguments(name: str) -> None:
    def law(scene: Scene) -> None:
        neuron, inputs = scene.neuron(), scene.inputs()
        state = neuron.initial_state(scene.batch)
        for step in range(STEPS):
            given = at(inputs, step) | {f"state {key}": value for key, value in state.items()}
            given |= {f"buffer {key}": value for key, value in neuron.named_buffers()}
            before, names = {key: value.clone() for key, value in given.items()}, list(state)
            s, after = neuron(given["x"], state, given.get("noise"))
            assert_same(given, before)
            assert list(state) == names
            memory = {value.untyped_storage().data_ptr() for value in given.values()}
            assert all(value.untyped_storage().data_ptr() not in memory for value in [s, *after.values()])
            state = after

    check_law(law, scenes(name), examples=25)


@every_class
def test_results_do_not_depend_on_the_shape(name: str) -> None:
    def law(scene: Scene) -> None:
        shaped, flat = (NeuronProgram(scene.neuron(shape)) for shape in (scene.shape, (math.prod(scene.shape),)))
        inputs, folded = scene.inputs(), len(scene.shape)
        flattened = {key: value.flatten(-folded) for key, value in inputs.items()}
        outputs, state = run_steps(shaped, inputs, shaped.initial_state(scene.batch))
        expected, last = run_steps(flat, flattened, flat.initial_state(scene.batch))
        assert_same({key: value.flatten(-folded) for key, value in outputs.items()}, expected)
        assert_same({key: value.flatten(-folded) for key, value in state.items()}, last)

    check_law(law, scenes(name), examples=25)


@every_class
def test_scripted_equals_eager(name: str) -> None:
    def law(scene: Scene) -> None:
        program, inputs = NeuronProgram(scene.neuron()), scene.inputs()
        scripted = script(program)
        start = program.initial_state(scene.batch)
        assert_same(scripted.initial_state(scene.batch), start)
        outputs, last = program.rollout(inputs, start)
        for _ in range(3):  # TorchScript optimises its code after a few calls
            stepped, state = run_steps(scripted, inputs, start)
            assert_same(stepped, outputs)
            assert_same(state, last)
            rolled, state = scripted.rollout(inputs, start)
            assert_same(rolled, outputs)
            assert_same(state, last)

    check_law(law, scenes(name), examples=8)
