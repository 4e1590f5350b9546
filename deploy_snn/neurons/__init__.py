"""The neuron models of BindsNET and NIR, as torch modules with explicit state: ``s, state = neuron(x, state)``."""

from deploy_snn.neurons.adaptive import AdaptiveLIFNodes, DiehlAndCookNodes
from deploy_snn.neurons.csrm import CSRMNodes
from deploy_snn.neurons.discrete import DifferenceCurrentLIFNodes, DifferenceLIFNodes, Heaviside
from deploy_snn.neurons.find import find_neuron
from deploy_snn.neurons.graded import CurrentIntegrator, DelayLine, Integrator, Relay
from deploy_snn.neurons.integrate_and_fire import IFNodes
from deploy_snn.neurons.izhikevich import IzhikevichNodes
from deploy_snn.neurons.leaky import BoostedLIFNodes, CurrentLIFNodes, LIFNodes
from deploy_snn.neurons.nodes import Nodes, keywords
from deploy_snn.neurons.program import NeuronProgram
from deploy_snn.neurons.srm0 import SRM0Nodes
from deploy_snn.neurons.stateless import Input, McCullochPitts
from deploy_snn.neurons.subtractive import SubtractiveResetIFNodes
from deploy_snn.registry import GRADED_NEURONS, NEURONS

__all__ = [
    "GRADED_NEURONS",
    "NEURONS",
    "AdaptiveLIFNodes",
    "BoostedLIFNodes",
    "CSRMNodes",
    "CurrentIntegrator",
    "CurrentLIFNodes",
    "DelayLine",
    "DiehlAndCookNodes",
    "DifferenceCurrentLIFNodes",
    "DifferenceLIFNodes",
    "Heaviside",
    "IFNodes",
    "Input",
    "Integrator",
    "IzhikevichNodes",
    "LIFNodes",
    "McCullochPitts",
    "NeuronProgram",
    "Nodes",
    "Relay",
    "SRM0Nodes",
    "SubtractiveResetIFNodes",
    "find_neuron",
    "keywords",
]
