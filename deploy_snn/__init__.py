"""Take spiking neural networks out of research code and into production runtimes.

Nothing heavy is imported here, so that the command line answers at once; import what you need from the packages below:
``deploy_snn.neurons``, ``deploy_snn.formats``, ``deploy_snn.runtimes``, ``deploy_snn.parity``.
"""

__version__ = "0.1.0"
