"""CSRM in cases that BindsNET's class does not support: any dt, two axes, parameters per neuron, summed input."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from deploy_snn.neurons import CSRMNodes
from deploy_snn.neurons.kernels import RESPONSE


def kernel_value(kernel: str, t: float, tau: float) -> float:
    """The response kernels of NEURONS.md, in double precision."""
    if kernel == "AlphaKernel":
        return t / tau**2 * math.exp(-t / tau)
    if kernel == "AlphaKernelSLAYER":
        return t / tau * math.exp(1 - t / tau)
    if kernel == "LaplacianKernel":
        return math.exp(-t / tau) / (2 * tau)
    if kernel == "ExponentialKernel":
        return math.exp(-t / tau) / tau
    if kernel == "RectangularKernel":
        return 1 / (2 * tau) if t <= tau else 0.0
    assert kernel == "TriangularKernel"
    return (1 - t / tau) / tau if t <= tau else 0.0


def steps_of(window: float, dt: float) -> int:
    """Return how many of 0, dt, 2 dt, ... are below the window, in exact decimal arithmetic."""
    return math.ceil(Fraction(str(window)) / Fraction(str(dt)))


# 0.9 ms at dt = 0.1: a sample at t = tau exactly. A float32 product would place it after tau.
@pytest.mark.parametrize("tau", [0.3, 0.9, 1.0, 2.5, 20.0])
@pytest.mark.parametrize("dt", [1.0, 0.5, 0.3, 0.1])
@pytest.mark.parametrize("kernel", RESPONSE)
def test_kernels_match_their_equations(kernel: str, dt: float, tau: float) -> None:
    neuron = CSRMNodes(2, responseKernel=kernel, tau=tau, dt=dt, res_window_size=7.3, ref_window_size=4, reset_const=35)
    times = [float(k * Fraction(str(dt))) for k in range(steps_of(7.3, dt))]
    expected = torch.tensor([kernel_value(kernel, t, tau) for t in reversed(times)])  # newest last
    torch.testing.assert_close(neuron.resKernel, expected, rtol=1e-5, atol=2e-7)
    assert (neuron.resKernel >= 0).all()
    eta = [-35 * math.exp(-t / tau) for t in reversed(times[: steps_of(4, dt)])]
    torch.testing.assert_close(neuron.refKernel, torch.tensor(eta), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dt", [1.0, 0.7, 0.5, 0.3, 0.25, 0.1, 0.05, 0.01])
@pytest.mark.parametrize(("res", "ref"), [(20, 10), (1, 0.5), (35, 21), (2.5, 100)])
def test_window_length_is_rounded_up_to_whole_steps(res: float, ref: float, dt: float) -> None:
    neuron = CSRMNodes(3, res_window_size=res, ref_window_size=ref, dt=dt)
    drive, spikes = neuron.contract.inputs[0], neuron.initial_state(2)["last_spikes"]
    assert (drive.shape(batch=2), spikes.shape) == ((2, steps_of(res, dt), 3), (2, steps_of(ref, dt), 3))


def plain_csrm(neuron: CSRMNodes, windows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the recurrence of NEURONS.md in double precision, neuron by neuron. Return spikes and potentials."""
    steps, batch, width = windows.shape[:3]
    per_neuron = {
        name: value.double().reshape(*value.shape, *([1] * (1 + len(neuron.shape) - value.dim()))).expand(-1, *neuron.shape)
        for name, value in (("res", neuron.resKernel), ("ref", neuron.refKernel))
    }
    v = neuron.rest.double().expand(batch, *neuron.shape)
    theta, fired, potentials = torch.zeros(neuron.shape, dtype=torch.float64), [], []
    for step in range(steps):
        v, theta = v * neuron.decay.double(), theta * neuron.theta_decay.double()
        for back in range(width):
            v = v + per_neuron["res"][width - 1 - back] * windows[step, :, width - 1 - back]
        for back in range(1, min(step, neuron.ref_window) + 1):
            v = v + per_neuron["ref"][neuron.ref_window - back] * fired[step - back]
        s = v >= neuron.thresh.double() + theta
        theta = theta + neuron.theta_plus.double() * s.sum(0)
        fired.append(s)
        potentials.append(v)
    return fired, potentials


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 3), {}),
        ((6,), {"tau": torch.linspace(0.5, 4.0, 6)}),
        ((2, 3), {"tau": torch.tensor([1.0, 2.0, 3.0]), "reset_const": torch.linspace(5.0, 60.0, 6).reshape(2, 3)}),
        ((3, 2), {"reset_const": torch.tensor([[50.0], [20.0], [5.0]]), "thresh": torch.tensor([4.0, 9.0])}),
    ],
    ids=["two axes", "tau per neuron", "tau and reset_const of two shapes", "reset_const and thresh of two shapes"],
)
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_recurrence_with_two_axes_and_parameters_per_neuron(
    dt: float, shape: tuple[int, ...], options: dict[str, Tensor]
) -> None:
    torch.manual_seed(3)
    neuron = CSRMNodes(
        shape=shape, dt=dt, sum_input=True, **{"thresh": 8.0, "rest": -5.0, "tc_decay": 20.0, "theta_plus": 0.5} | options
    )
    windows = (torch.randn(60, 2, neuron.res_window, *shape) * 4 + 1).mul(16).round() / 16
    spikes, potentials = plain_csrm(neuron, windows)
    state, entered = neuron.initial_state(2), torch.zeros(2, *shape)
    for step, window in enumerate(windows):
        s, state = neuron(window, state)
        assert torch.equal(s, spikes[step])
        torch.testing.assert_close(state["v"].double(), potentials[step], rtol=1e-4, atol=1e-4)
        entered = entered + window[:, -1]  # only the newest drive enters the sum
        assert torch.equal(state["summed"], entered)
    rate = torch.stack(spikes).float().mean()
    assert 0.02 < rate < 0.8
