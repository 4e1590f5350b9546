"""Live modules of snnTorch, SpikingJelly and norse: spikes equal their own forward at every step."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import deploy_snn
from deploy_snn import InvalidInput
from deploy_snn.network import Network

from .nir_runs import foreign_code, steps

with foreign_code():
    import norse.torch as norse
    import snntorch
    import snntorch.surrogate
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

STEPS, BATCH = 200, 4


def each(low: float, high: float, *shape: int) -> Tensor:
    return torch.linspace(low, high, torch.Size(shape).numel()).reshape(shape)


def drive(*shape: int) -> Tensor:
    return 2 * torch.randn(STEPS, BATCH, *shape)


def random_statistics(model: nn.Module) -> nn.Module:
    """Set random statistics and affine parameters in all batch norms, and switch to eval mode."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return model.eval()


def assert_equal_spikes(network: Network, x: Tensor, expected: Tensor, least: int = 100) -> None:
    """Check that the last layer's spikes equal the framework's, and that each layer fires at a moderate rate."""
    found = steps(network, x)
    rates = {name: float(sent.float().mean()) for name, sent in found.items() if sent.dtype == torch.bool}
    assert all(0.01 < rate < 0.9 for rate in rates.values()), rates
    assert expected.sum() >= least
    assert torch.equal(found[list(found)[-1]].float(), expected)


def run_steps(model: nn.Module, x: Tensor) -> Tensor:
    with foreign_code():
        return torch.stack([model(step) for step in x])


# snnTorch


def leaky(*shape: int, **options: object) -> nn.Module:
    return snntorch.Leaky(beta=each(0.5, 1.0, *shape), threshold=each(0.3, 1.0, *shape), init_hidden=True, **options)


def synaptic(*shape: int, **options: object) -> nn.Module:
    return snntorch.Synaptic(
        alpha=each(0.1, 0.7, *shape), beta=each(0.5, 0.95, *shape), threshold=0.7, init_hidden=True, **options
    )


@pytest.mark.parametrize("make", [leaky, synaptic])
@pytest.mark.parametrize("options", [{}, {"reset_mechanism": "zero"}, {"reset_mechanism": "zero", "reset_delay": False}])
def test_snntorch(make: object, options: dict) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 50), make(50, **options), nn.Dropout(0.5), nn.Linear(50, 10), make(10, **options))
    model.eval()
    network = deploy_snn.load_model(model)
    assert list(network.layers) == ["input", "n1", "n4"]
    x = drive(20)
    assert_equal_spikes(network, x, run_steps(model, x))


def test_snntorch_convolutions() -> None:
    """The convolutional network of snnTorch's tutorials, with nested modules, batch norm and scalar parameters."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.features = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        snntorch.Leaky(beta=0.9, init_hidden=True, spike_grad=snntorch.surrogate.fast_sigmoid()),
        nn.Conv2d(4, 6, 3, groups=2, stride=2),
        nn.BatchNorm2d(6),
        snntorch.Leaky(beta=0.8, threshold=0.2, init_hidden=True, learn_beta=True),
    )
    model.classifier = nn.Sequential(
        nn.Flatten(), nn.Linear(24, 10), nn.BatchNorm1d(10), nn.Identity(), synaptic(10, reset_mechanism="zero")
    )
    random_statistics(model)
    network = deploy_snn.load_model(model, input_shape=(2, 12, 10))
    assert [name for name in network.layers if name.endswith(("3", "6", "4"))] == [
        "features_3",
        "features_6",
        "classifier_4",
    ]
    x = drive(2, 12, 10)
    assert_equal_spikes(network, x, run_steps(model, x))


# SpikingJelly


@pytest.mark.parametrize("v_reset", [0.0, -0.3, None])
def test_spikingjelly(v_reset: float | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        layer.Conv1d(2, 6, 3),
        layer.BatchNorm1d(6),
        neuron.LIFNode(tau=1.7, v_reset=v_reset, v_threshold=0.8),
        layer.MaxPool1d(2),
        layer.Conv1d(6, 6, 3, padding=1),
        neuron.IFNode(v_reset=v_reset),
        layer.Flatten(),
        layer.Dropout(0.3),
        layer.Linear(24, 10),
        neuron.LIFNode(tau=3.0, v_threshold=0.1, decay_input=False, v_reset=v_reset, surrogate_function=surrogate.ATan()),
    )
    random_statistics(model)
    network = deploy_snn.load_model(model, input_shape=(2, 10))
    x = drive(2, 10)
    single = run_steps(model, x)
    assert_equal_spikes(network, x, single)
    functional.set_step_mode(model, "m")
    functional.reset_net(model)
    with foreign_code():
        assert torch.equal(model(x), single)
    assert_equal_spikes(deploy_snn.load_model(model, input_shape=(2, 10)), x, single)


def test_spikingjelly_on_the_threshold() -> None:
    """A potential equal to the threshold fires, as in SpikingJelly."""
    model = nn.Sequential(nn.Linear(4, 1, bias=False), neuron.IFNode()).eval()
    nn.init.constant_(model[0].weight, 0.25)
    x = (torch.rand(STEPS, BATCH, 4) < 0.5).float()
    assert_equal_spikes(deploy_snn.load_model(model), x, run_steps(model, x))


# norse


def box(n: int, reset: str) -> nn.Module:
    p = norse.LIFBoxParameters(
        tau_mem_inv=each(60, 150, n),
        v_leak=each(0, 0.02, n),
        v_th=each(0.03, 0.05, n),
        v_reset=torch.tensor(-0.01),
        reset_method=getattr(norse.functional.reset, reset),
    )
    return norse.LIFBoxCell(p)


def with_current(n: int) -> nn.Module:
    p = norse.LIFParameters(tau_mem_inv=each(60, 110, n), tau_syn_inv=each(150, 250, n), v_th=torch.tensor(0.05))
    return norse.LIFCell(p, dt=0.002)


def iaf(n: int) -> nn.Module:
    return norse.IAFCell(norse.IAFParameters(v_th=each(1, 2, n), v_reset=torch.tensor(-0.2)))


@pytest.mark.parametrize(
    "make",
    [lambda n: box(n, "reset_value"), lambda n: box(n, "reset_subtract"), with_current, iaf],
    ids=["box", "box, subtracted", "current", "iaf"],
)
def test_norse(make: object) -> None:
    torch.manual_seed(0)
    model = norse.SequentialState(nn.Conv3d(1, 2, 2, bias=False), make(4), nn.Flatten(), nn.Linear(48, 30), make(30)).eval()
    network = deploy_snn.load_model(model, input_shape=(1, 3, 4, 5))
    assert network.contract.dt == 1e3 * model[1].dt
    x, state, spikes = drive(1, 3, 4, 5), None, []
    with foreign_code():
        for step in x:
            sent, state = model(step, state)
            spikes.append(sent)
    assert_equal_spikes(network, x, torch.stack(spikes))


# torch, bundles, refusals


def test_pooling_and_readout_of_numbers() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        snntorch.Leaky(beta=0.7, init_hidden=True),
        nn.AvgPool2d(2, padding=1),
        nn.Conv2d(2, 3, (1, 2)),
        nn.MaxPool2d((2, 3), stride=1, padding=(0, 1), dilation=(1, 1)),
        nn.Flatten(),
        nn.Linear(27, 4),
    ).eval()
    x = drive(2, 7, 6)
    expected = run_steps(model, x)
    network = deploy_snn.load_model(model, input_shape=(2, 7, 6), inputs="values", dt=0.5)
    assert network.contract.dt == 0.5
    torch.testing.assert_close(steps(network, x)["output.s"], expected)


def test_export_of_a_module(tmp_path: Path) -> None:
    """A module is exported and run by ONNX Runtime; the manifest names its source, and the module is not changed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 3, 3), leaky(3, 6), nn.Dropout(), nn.Flatten(), nn.Linear(18, 5), leaky(5)).eval()
    bundle = deploy_snn.export(model, tmp_path / "net", input_shape=(2, 8), formats=["onnx"], snap_bits=12)
    assert bundle.manifest.source.kind == "object"
    assert bundle.manifest.source.left_behind == ("module '2' (Dropout): it drops nothing in eval mode",)
    assert all(parameter.requires_grad for parameter in model[0].parameters())
    with torch.no_grad():
        for snapped in (model[0], model[4]):
            assert (snapped.weight * 2**12 != (snapped.weight * 2**12).round()).any()
            for parameter in snapped.parameters():
                parameter.mul_(2**12).round_().div_(2**12)
    x = 2 * (torch.rand(STEPS, BATCH, 2, 8) < 0.5).float()  # on the grid of the weights, so that every sum is exact
    session = bundle.session("onnxruntime-cpu")
    session.reset(batch=BATCH)
    spikes, expected = torch.from_numpy(session.run({"input.x": x.numpy()})["n5.s"]).float(), run_steps(model, x)
    assert expected.sum() > 100
    assert torch.equal(spikes, expected)
    with pytest.raises(InvalidInput, match="has a shape of its own"):
        deploy_snn.export(deploy_snn.load_model("lif", n=3), tmp_path / "lif", input_shape=(3,))


class OwnForward(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


class OwnConstructor(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 3), leaky(3))


def hooked() -> nn.Module:
    linear = nn.Linear(4, 3)
    linear.register_forward_hook(lambda _, __, y: 2 * y)
    return linear


def with_reset_changed() -> nn.Module:
    changed = leaky(3)
    changed.reset_mechanism = "zero"
    return changed


def shared() -> nn.Module:
    repeated = leaky(3)
    return nn.Sequential(nn.Linear(4, 3), repeated, nn.Linear(3, 3), repeated)


def after_linear(neuron: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), neuron)


REJECTED = {
    "reset_mechanism='none'": lambda: after_linear(leaky(3, reset_mechanism="none")),
    "'1' (Leaky): reset_delay=False with reset_mechanism='subtract'": lambda: after_linear(leaky(3, reset_delay=False)),
    "reset_mechanism was changed": lambda: after_linear(with_reset_changed()),
    "graded_spikes_factor is not 1": lambda: after_linear(leaky(3, graded_spikes_factor=2.0)),
    "inhibition=True": lambda: after_linear(leaky(3, inhibition=True)),
    "state_quant": lambda: after_linear(leaky(3, state_quant=torch.round)),
    "spike_grad is not the step": lambda: after_linear(leaky(3, spike_grad=torch.sigmoid)),
    "'1' (RLeaky): its recurrence": lambda: after_linear(snntorch.RLeaky(0.9, linear_features=3, init_hidden=True)),
    "'1' (Alpha): it has no counterpart": lambda: after_linear(snntorch.Alpha(0.9, 0.8, init_hidden=True)),
    "its spiking False": lambda: after_linear(neuron.IFNode(surrogate_function=surrogate.Sigmoid(spiking=False))),
    "'1' (ParametricLIFNode)": lambda: after_linear(neuron.ParametricLIFNode()),
    "has step_mode='s'": lambda: nn.Sequential(layer.Linear(4, 3, step_mode="s"), neuron.IFNode(step_mode="m")),
    "'1' (LIFRecurrentCell): its recurrence": lambda: after_linear(norse.LIFRecurrentCell(3, 3)),
    "method='logistic'": lambda: after_linear(norse.LIFBoxCell(norse.LIFBoxParameters(method="logistic"))),
    "dt=2 ms, expected 1 ms": lambda: nn.Sequential(nn.Linear(4, 3), iaf(3), nn.Linear(3, 3), with_current(3)),
    "share its state": shared,
    "'0' (OwnForward): its forward is code of its own": lambda: nn.Sequential(OwnForward(nn.Linear(4, 3)), leaky(3)),
    "'0' (Linear): it has forward hooks": lambda: nn.Sequential(hooked(), leaky(3)),
    "'1' (ReLU): it has no counterpart": lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), leaky(3)),
    "does not follow a Linear or a convolution": lambda: nn.Sequential(nn.Linear(4, 3), leaky(3), nn.BatchNorm1d(3)).eval(),
    "without running statistics": lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
    "'1' (BatchNorm1d): it is in training mode": lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), leaky(3)),
    "'1' (Dropout): it is in training mode": lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(), leaky(3)),
    "float64: call float()": lambda: nn.Sequential(nn.Linear(4, 3), leaky(3)).double(),
    "no neurons of a known framework": lambda: nn.Sequential(nn.Linear(4, 3)),
    "the shape of the input is unknown": lambda: nn.Sequential(nn.Conv1d(2, 3, 3), leaky(3)),
    "'1' (Conv1d): its input is [3]": lambda: nn.Sequential(nn.Linear(4, 3), nn.Conv1d(1, 3, 1), leaky(3)),
    "'1.0' (Linear): mat1 and mat2": lambda: nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Linear(4, 3), leaky(3))),
    "Flatten(1, -1)": lambda: nn.Sequential(nn.Flatten(0), nn.Linear(4, 3), leaky(3)),
    "'0' (MaxPool1d): ceil_mode": lambda: nn.Sequential(nn.MaxPool1d(2, ceil_mode=True), leaky(3)),
    "count_include_pad=False": lambda: nn.Sequential(nn.AvgPool2d(2, padding=1, count_include_pad=False), leaky(3)),
}


@pytest.mark.parametrize("sentence", REJECTED)
def test_rejected_modules(sentence: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = REJECTED[sentence]()
    with pytest.raises(InvalidInput) as error:
        deploy_snn.load_model(model)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_invalid_options() -> None:
    model = OwnConstructor().eval()
    assert list(deploy_snn.load_model(model).layers) == ["input", "n1"]
    with pytest.raises(InvalidInput, match="no option shape; it has input_shape, dt, inputs"):
        deploy_snn.load_model(model, shape=(4,))
    with pytest.raises(InvalidInput, match="expected 'values' or 'spikes'"):
        deploy_snn.load_model(model, inputs="both")
