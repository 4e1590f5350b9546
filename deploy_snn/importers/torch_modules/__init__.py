"""Reading live torch modules: an ``nn.Sequential`` of layers and of a framework's neurons, as a network.

The frameworks are not imported: a module is known by its class and its attributes. Each framework is one file with a
function ``part_of``, and one line in the registry.
"""

from deploy_snn.importers.torch_modules.assembly import read_module

__all__ = ["read_module"]
