"""Checkpoints: the state of a tuning under way goes in, a folder that is whole or not there comes
out. Knows files and checksums; what the tensors mean is the loop's business.

A checkpoint is made beside its final place: tensors as safetensors, values as JSON, both synced;
then a marker with the sha256 of each; then the folder is renamed. Nothing is pickled.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit.errors import CheckpointError, EnvironmentProblem
from fiatkit.files import LOCK, sync, write_json
from fiatkit.models.catalogue import sha256_of

if TYPE_CHECKING:
    import torch

FORMAT = 1
MARKER = "checkpoint.json"
TENSORS = "tensors.safetensors"
VALUES = "values.json"
KEPT = 2
OWN = re.compile(rf"step-\d{{8,}}(-2)?|\.step-\d{{8,}}(-2)?\.part|{re.escape(LOCK)}")


@dataclass(frozen=True, slots=True)
class State:
    """All that a tuning needs to go on: tensors by name, and plain values for JSON."""

    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one tuning. The last two good ones are kept.

    Args:
        folder: where they are; made when the first is saved.
        about: what the tuning was begun with; a checkpoint of anything else is refused.
        force: go on from such a checkpoint all the same; `forced` then says what differed.
        say: told what is skipped, and from where the tuning goes on.
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        *,
        force: bool = False,
        say: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.about = dict(about)
        self.forced: list[str] = []
        self.say = say
        self._force = force
        self._good: list[Path] = []

    def save(self, step: int, state: State) -> None:
        """Save the state after `step` steps; older checkpoints go once this one is verified.

        Raises:
            EnvironmentProblem: it cannot be written; the last good one is still there.
        """
        final = self.folder / f"step-{step:08d}"
        while final in self._good:  # of the same step, before its epoch ended: kept meanwhile
            final = final.with_name(f"{final.name}-2")
        work = self.folder / f".{final.name}.part"
        with self._written(work):
            for old in (work, final):
                shutil.rmtree(old, ignore_errors=True)
            work.mkdir(parents=True)
            _write_tensors(work / TENSORS, state.tensors)
            write_json(work / VALUES, state.values)
            sums = {name: sha256_of(work / name) for name in (TENSORS, VALUES)}
            marker = {"format": FORMAT, "step": step, "about": self.about, "files": sums}
            write_json(work / MARKER, marker)
            work.rename(final)
            sync(self.folder)
        self._good = [*(path for path in self._good if path != final), final][-KEPT:]
        self._remove_others()

    @contextlib.contextmanager
    def _written(self, work: Path) -> Iterator[None]:
        """Tell what could not be written, and leave no part of it on a full disk."""
        import safetensors

        try:
            yield
        except (OSError, safetensors.SafetensorError, EnvironmentProblem) as error:
            shutil.rmtree(work, ignore_errors=True)
            last = self._good[-1].name if self._good else "none"
            reason = error.message if isinstance(error, EnvironmentProblem) else str(error)
            raise EnvironmentProblem(
                f'A checkpoint cannot be saved in "{self.folder}": {reason} '
                f"(last good one: {last}).",
                "Free some space, then run the same command again to go on.",
            ) from None

    def _remove_others(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and path not in self._good:
                (path / MARKER).unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)

    def newest(self) -> State | None:
        """The newest checkpoint that is whole; None if there is none, which is said aloud if
        there are damaged ones.

        Raises:
            CheckpointError: it is of other data, settings, base model or packages.
        """
        found = sorted(self.folder.glob("step-*"), reverse=True)
        skipped = 0
        for path in found:
            problem = _problem(path)
            if problem:
                skipped += 1
                self.say(f'The checkpoint "{path}" is skipped: {problem}.')
                continue
            marker = _marker(path)
            self._compare(path, marker["about"])
            self._good = [path]
            self.say(f"The tuning goes on after step {marker['step']} (from {path}).")
            return _read(path)
        if skipped:
            self.say("No checkpoint is whole: the tuning starts over.")
        return None

    def _compare(self, path: Path, before: Mapping[str, Any]) -> None:
        keys = sorted({*before, *self.about})
        differing = [
            f"{key} ({_short(before.get(key))}, now {_short(self.about.get(key))})"
            for key in keys
            if before.get(key) != self.about.get(key)
        ]
        if not differing:
            return
        if not self._force:
            raise CheckpointError(
                f'The checkpoint "{path}" is of another tuning; these differ: '
                f"{', '.join(differing)}.",
                f'To begin anew, delete "{self.folder}". To go on all the same, say '
                "--force-resume: the artefact will tell.",
            )
        self.forced = differing
        self.say(f"The tuning is resumed by force although these differ: {', '.join(differing)}.")

    def remove(self) -> None:
        """Delete them all: the tuning's result is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)


def foreign(folder: Path) -> list[str]:
    """What stands in a folder, if there is one, that no tuning has put there."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:  # there is none, or none can be: whoever makes it tells why
        return []
    return sorted(name for name in names if not OWN.fullmatch(name))


def newest_about(folder: Path) -> dict[str, Any] | None:
    """What the newest whole checkpoint in a folder was begun with; None if there is none."""
    paths = sorted(folder.glob("step-*"), reverse=True)
    found: dict[str, Any] | None = next(
        (_marker(p)["about"] for p in paths if not _problem(p)), None
    )
    return found


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors, bring them to the disk, and read them again to be sure."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path)
    sync(path)
    with safe_open(path, "pt") as file:
        for name, tensor in plain.items():
            if not torch.equal(file.get_tensor(name), tensor):
                raise OSError(f'"{name}" was not read back as it was written')


def _marker(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / MARKER).read_text(encoding="utf-8"))
    return found


def _problem(path: Path) -> str:
    """What is wrong with a checkpoint, or an empty string."""
    try:
        marker = _marker(path)
        if marker["format"] > FORMAT:
            return f"it has format {marker['format']}, which this release cannot read"
        if not isinstance(marker["about"], dict) or not isinstance(marker["step"], int):
            return f"{MARKER} is not as it was saved"
        for name in (TENSORS, VALUES):
            if sha256_of(path / name) != marker["files"][name]:
                return f"{name} is not as it was saved"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it cannot be read ({type(error).__name__})"
    return ""


def _read(path: Path) -> State:
    """In memory of its own: the file may go while the tuning goes on."""
    from safetensors.torch import load_file

    values = json.loads((path / VALUES).read_text(encoding="utf-8"))
    tensors = {name: tensor.clone() for name, tensor in load_file(path / TENSORS).items()}
    return State(tensors, values)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:12] + "..."
