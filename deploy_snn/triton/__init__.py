"""Model repositories for Triton Inference Server, written from bundles and checked by Triton's rules."""

from deploy_snn.triton.lint import lint
from deploy_snn.triton.repository import write_repository

__all__ = ["lint", "write_repository"]
