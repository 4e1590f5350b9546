"""A static site that runs a bundle's WebAssembly in the browser. ``deploy-snn.js`` is also a module for other pages."""

from deploy_snn.web.site import write_site

__all__ = ["write_site"]
