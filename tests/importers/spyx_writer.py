"""Write ``spyx-1.0.nir`` and ``spyx-1.0.safetensors``: a network exported by spyx, and its outputs for a given input.

spyx needs jax and flax, so its files are kept beside the tests. Run this script in its own environment, with
``pip install jax flax nir safetensors`` and ``pip install --no-deps spyx==1.0.0``.
"""

import sys
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import nir
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

grain = ModuleType("grain.python")  # a stub: spyx imports its data loaders, which this script does not use
grain.__getattr__ = lambda name: type(name, (), {})
grain.python = grain
sys.modules |= {"grain": grain, "grain.python": grain}

from spyx import nir as spyx_nir  # noqa: E402
from spyx import nn  # noqa: E402

HERE = Path(__file__).parent
STEPS, BATCH = 200, 2


def simulate(model: nn.Sequential, x: np.ndarray) -> np.ndarray:
    """Step a model, and return its spikes."""
    sent, state = [], model.initial_state(BATCH)
    for step in x:
        out, state = model(jnp.asarray(step), state)
        sent.append(np.asarray(out))
    return np.stack(sent).astype(np.bool_)


def main() -> None:
    rngs = nnx.Rngs(0)
    layers = [
        nnx.Linear(12, 20, rngs=rngs),
        nn.LIF((20,), threshold=0.8, rngs=rngs),
        nnx.Linear(20, 16, rngs=rngs),
        nn.CuBaLIF((16,), threshold=0.7, rngs=rngs),
        nnx.Linear(16, 10, rngs=rngs),
        nn.IF((10,), threshold=0.9),
        nnx.Linear(10, 6, rngs=rngs),
        nn.PSU_LIF((6,), threshold=0.5, rngs=rngs),
    ]
    for layer in layers[::2]:
        layer.kernel[...] = 2 * layer.kernel[...]
        layer.bias[...] = 0.05 * jnp.ones_like(layer.bias[...])
    x = np.random.default_rng(0).standard_normal((STEPS, BATCH, 12)).astype(np.float32)
    spikes = {f"layer_{end - 1}": simulate(nn.Sequential(*layers[:end]), x) for end in (2, 4, 6, 8)}
    model = nn.Sequential(*layers)
    nir.write(HERE / "spyx-1.0.nir", spyx_nir.to_nir(model, {"input": np.array([12])}, {"output": np.array([6])}))
    save_file({"x": x} | spikes, HERE / "spyx-1.0.safetensors")
    recurrent = nn.Sequential(nnx.Linear(4, 3, rngs=rngs), nn.RLIF((3,), rngs=rngs))
    nir.write(
        HERE / "spyx-1.0-recurrent.nir", spyx_nir.to_nir(recurrent, {"input": np.array([4])}, {"output": np.array([3])})
    )


if __name__ == "__main__":
    main()
