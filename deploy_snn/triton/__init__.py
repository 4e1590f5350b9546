"""Triton Inference Server: model repositories for it, written from bundles and held against its own rules."""

from deploy_snn.triton.lint import lint
from deploy_snn.triton.repository import write_repository

__all__ = ["lint", "write_repository"]
