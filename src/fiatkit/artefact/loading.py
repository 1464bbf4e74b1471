"""From a folder back to a tuned model, after every file of it was checked."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit.artefact import checks, manifest, preparation
from fiatkit.artefact.manifest import Manifest
from fiatkit.artefact.preparation import PREPARATION
from fiatkit.artefact.saving import METHODS, template_sum
from fiatkit.errors import ArtefactError, EnvironmentProblem, FiatError
from fiatkit.models import catalogue

if TYPE_CHECKING:
    from fiatkit.models.local import SmallModel

HUB = "hub:"
SAME_BASE = "Bring the model back that was tuned, or tune again."


@dataclass(frozen=True, slots=True)
class Artefact:
    """A folder whose every file was checked. Its base model was not looked for yet."""

    folder: Path
    manifest: Manifest
    preparation: dict[str, Any]

    @property
    def base(self) -> str:
        """The base model as it was named when it was tuned."""
        return str(self.preparation["small"])


def read(folder: Path) -> Artefact:
    """Check an artefact without its base model: every file, and what is in it.

    Args:
        folder: the artefact, or `hub:owner/name[@revision]` for one on the hub.

    Raises:
        ArtefactError: it is of a newer format or was tuned with other prompts, or a file is
            missing, changed, odd, damaged, asks for code, or holds weights that are not finite or
            not as configured.
        EnvironmentProblem: it cannot be read.
    """
    if str(folder).startswith(HUB):
        from fiatkit.artefact.export.hub import fetch

        folder = fetch(str(folder).removeprefix(HUB))
    with _reading(folder):
        checks.refuse_no_folder(folder)
        found = manifest.read(folder)
        checks.check_files(folder, found.files, manifest.MANIFEST)
        checks.check_contents(folder, found.files)
        prepared = checks.read_json(folder / PREPARATION) if PREPARATION in found.files else {}
    recipe = prepared.get("recipe")
    if not isinstance(recipe, dict) or recipe.get("method") != found.method:
        raise ArtefactError(f'"{folder}": its {PREPARATION} does not fit its manifest.')
    if found.method == "full" and checks.ADAPTER in found.files:
        raise ArtefactError(f'"{folder}" holds an adapter, and says that it is a whole model.')
    preparation.check(folder, prepared)
    return Artefact(folder, found, prepared)


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentProblem(
            f'Cannot read "{folder}": {error.strerror or error}.',
            "Give a folder that you may read.",
        ) from None


def load(
    folder: Path, *, device: str = "auto", base: str | None = None
) -> tuple[SmallModel, dict[str, Any]]:
    """Load an artefact after checking every file of it, and of its base.

    Args:
        folder: the artefact.
        device: as for `SmallModel.load`.
        base: where the base model lies now; default: where it lay when it was tuned.

    Returns:
        The tuned model and its preparation.

    Raises:
        ArtefactError: the artefact is refused (see `read`), or the base has other weights,
            another tokenizer or another template than the one that was tuned.
        UnknownNameError: there is no such base.
    """
    artefact = read(folder)
    return load_weights(artefact, device=device, base=base), artefact.preparation


def load_weights(artefact: Artefact, *, device: str, base: str | None = None) -> SmallModel:
    """Load the base of an artefact that was read, and what was tuned on top of it."""
    from fiatkit.models.local import SmallModel

    wanted, ref = artefact.manifest.small, base or artefact.base
    check_base(artefact, ref)
    small = SmallModel.load(ref, device=device)
    if "template_sha256" in wanted and template_sum(small.tokenizer) != wanted["template_sha256"]:
        raise ArtefactError(
            f'"{artefact.folder}" was tuned with another chat template than {ref} now has.',
            SAME_BASE,
        )
    method = registry.get(METHODS, artefact.manifest.method)
    try:
        # An absolute path is no name of the hub, where peft would look for what is missing.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of transformers that peft still uses
            small.model = method.load(small.model, artefact.folder.absolute())
    except FiatError:
        raise
    except Exception as error:  # libraries raise all kinds over values that they do not expect
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ArtefactError(f'"{artefact.folder}" does not fit its base: {first}') from None
    _check_complete(small.model, artefact)
    small.model.eval()
    return small


def check_base(artefact: Artefact, ref: str, *, anew: bool = False) -> None:
    """The base has the weights that it had, and the same tokenizer, template and settings.

    Args:
        artefact: what was tuned.
        ref: where its base lies.
        anew: whether every byte of the base is read, rather than the sums of its files
            remembered by path, size and time of change.

    Raises:
        ArtefactError: it has others; names the files.
        UnknownNameError: there is no model `ref`.
    """
    wanted = artefact.manifest.small
    _, identity = catalogue.resolve_transformers(ref, anew=anew)
    if identity["revision"] != wanted["revision"]:
        raise ArtefactError(
            f'"{artefact.folder}" was tuned on {wanted["name"]} ({wanted["revision"][:12]}), but '
            f"{ref} now holds other weights ({identity['revision'][:12]}).",
            SAME_BASE,
        )
    sums: dict[str, str] = wanted.get("files", {})
    now = catalogue.file_sums(ref, anew=anew) if sums else {}
    if odd := sorted(name for name in sums.keys() | now.keys() if sums.get(name) != now.get(name)):
        raise ArtefactError(
            f'"{artefact.folder}" was tuned on {ref} with other files than are there now: '
            f"{', '.join(odd[:5])}.",
            SAME_BASE,
        )


def _check_complete(model: Any, artefact: Artefact) -> None:
    """Each weight of an adapter came from the file: peft fills in what is missing, in silence."""
    from fiatkit.artefact.weights import read_header

    file = artefact.folder / checks.ADAPTER_WEIGHTS
    if not hasattr(model, "peft_config") or not file.is_file():
        return
    import peft

    kept = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes = {name: tuple(weight.shape) for name, weight in kept.items()}
    held = {name: tensor.shape for name, tensor in read_header(file).items()}
    if odd := sorted(n for n in shapes.keys() | held.keys() if shapes.get(n) != held.get(n)):
        raise ArtefactError(f'"{file}" does not fit its adapter_config.json: "{odd[0]}".')
