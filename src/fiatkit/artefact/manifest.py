"""The manifest: what an artefact is, what it was made of, and the sha256 of every file.

It is written last, so that an unfinished artefact has none, and it carries its own sum, so that
nothing in it is changed unseen. Format 1 had no more than method, small model and files; it is
read for ever.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fiatkit._version import __version__
from fiatkit.artefact import checks
from fiatkit.artefact.preparation import Strict, TunedOn
from fiatkit.errors import ArtefactError
from fiatkit.files import write_json

FORMAT = 2
OLDEST = 1
FEATURES: frozenset[str] = frozenset()  # names that `required_features` may hold in this release
MANIFEST = "manifest.json"
LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What stands in manifest.json.

    Attributes:
        method: how the small model was tuned; the plug-in that loads it.
        small: the base: `name`, `revision`, `licence`; `files` with the sha256 of each file of
            its folder (of a catalogue model the revision pins the one file that it came from);
            `template_sha256` of its chat template.
        files: sha256 of every other file of the artefact.
        large: the large model as it was when it wrote the rationales, and its licence if known.
        data: what was tuned on, as counts and sums.
        scores: by split ("dev", "test") and metric: value, interval, rows, groups.
        versions: of fiatkit and the libraries that made it.
        required_features: what a release must know to use it, beside the format.
    """

    method: str
    small: Mapping[str, Any]
    files: Mapping[str, str]
    large: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    required_features: tuple[str, ...] = ()
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        """Write manifest.json with the sum of its own content."""
        values = {name: getattr(self, name) for name in ("format", *_KEYS)}
        write_json(folder / MANIFEST, values | {"sha256": _sum(values)})


_KEYS = (
    "required_features",
    "versions",
    "method",
    "small",
    "large",
    "data",
    "scores",
    "files",
)


def read(folder: Path) -> Manifest:
    """Read a manifest and check all that can be checked without another file.

    Raises:
        ArtefactError: there is none, it is damaged, or this release cannot use what it describes;
            names the release that can.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtefactError(
            f'"{folder}" is no artefact: it has no {MANIFEST}.',
            "`fiat tune` makes one; an interrupted one has none and is made again.",
        )
    values = checks.read_json(path)
    version = values.get("format")
    if type(version) is not int:
        raise ArtefactError(f'"{path}" is damaged.')
    _refuse_foreign(folder, version, values)
    sealed = "sha256" in values or version > OLDEST  # also one that calls itself an older one
    if sealed and values.pop("sha256", None) != _sum(values):
        raise ArtefactError(f'"{path}" was changed since it was saved.', checks.WHOLE)
    known = {key: values[key] for key in ("format", *_KEYS) if key in values}
    try:
        _Shape.model_validate(known | {"data": known.get("data") or None})
    except ValidationError:
        raise ArtefactError(f'"{path}" is damaged.') from None
    return Manifest(**known)


class _Score(Strict):
    value: float | None
    low: float | None
    high: float | None
    n: int


class _Small(Strict):
    name: str
    revision: str
    licence: str = ""
    files: dict[str, str] = {}
    template_sha256: str | None = None


class _Shape(Strict):
    """What the values of a manifest must be; a `Manifest` says what they mean."""

    method: str
    small: _Small
    files: dict[str, str]
    large: dict[str, Any] | None = None
    data: TunedOn | None = None
    scores: dict[str, dict[str, _Score]] = {}
    versions: dict[str, str] = {}
    required_features: list[str] = []


def _refuse_foreign(folder: Path, version: int, values: Mapping[str, Any]) -> None:
    """Refuse what another release must read, before anything else of it is believed."""
    versions = values.get("versions")
    maker = versions.get("fiatkit") if isinstance(versions, dict) else None
    if not OLDEST <= version <= FORMAT:
        raise ArtefactError(
            f'"{folder}" has format {version}; fiatkit {__version__} reads {OLDEST} to {FORMAT}.',
            f"Use fiatkit {maker or 'of a newer release'}.",
        )
    features = values.get("required_features", [])
    if not isinstance(features, list):
        raise ArtefactError(f'"{folder / MANIFEST}" is damaged.')
    if unknown := sorted({str(feature) for feature in features} - FEATURES):
        raise ArtefactError(
            f'"{folder}" needs {", ".join(unknown)}, which fiatkit {__version__} does not have.',
            f"Use fiatkit {maker or 'of a newer release'}.",
        )


def versions() -> dict[str, str]:
    """Versions of fiatkit, Python and the libraries in use."""
    found = {"fiatkit": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        found[name] = metadata.version(name)
    return found


def _sum(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
