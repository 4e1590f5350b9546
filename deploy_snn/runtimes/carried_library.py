"""The compiled libraries that a bundle carries: one for each kind of CPU that it was exported for."""

from deploy_snn.bundle import Bundle
from deploy_snn.cpus import cpus_here, library_name


def carried_library(bundle: Bundle) -> str | None:
    """The file of a bundle with the fastest library that runs on this CPU, or None."""
    return next((library_name(cpu) for cpu in cpus_here() if library_name(cpu) in bundle.manifest.files), None)
