"""artefact."""
