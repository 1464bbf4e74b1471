"""A tuned model as a folder to trust: weights, preparation, and a manifest written last."""

from fiatkit.artefact.loading import Artefact, check_base, load, load_weights, read
from fiatkit.artefact.manifest import FORMAT, Manifest
from fiatkit.artefact.saving import save

__all__ = ["FORMAT", "Artefact", "Manifest", "check_base", "load", "load_weights", "read", "save"]
