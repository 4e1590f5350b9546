"""Networks of other frameworks: a file, or a live object, read into a network of ours."""

from deploy_snn.importers.imported import Imported

__all__ = ["Imported"]
