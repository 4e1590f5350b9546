"""The error for a model that has no C source."""

from deploy_snn.errors import InvalidInput


class Refusal(InvalidInput):
    """A model cannot be compiled to C. The message names the operator and the layer."""
