"""Excitatory neurons whose thresholds differ and adapt (Diehl & Cook 2015, doi:10.3389/fncom.2015.00099)."""

import torch

from deploy_snn.neurons import AdaptiveLIFNodes


def build(n: int = 100, spread: float = 4.0, dt: float = 1.0) -> AdaptiveLIFNodes:
    """``n`` neurons with thresholds spread evenly over ``spread`` mV around -52 mV."""
    thresholds = -52.0 + spread * torch.linspace(-0.5, 0.5, n)
    return AdaptiveLIFNodes(n=n, thresh=thresholds, theta_plus=0.05, tc_theta_decay=1e7, lbound=-80.0, traces=True, dt=dt)
