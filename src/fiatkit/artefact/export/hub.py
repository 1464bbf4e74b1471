"""A repository of the hub with an artefact in it: fiatkit loads it by name, peft its adapter."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fiatkit.artefact import manifest
from fiatkit.artefact.export import merged, peft
from fiatkit.artefact.export._snippets import fenced, transformers_code
from fiatkit.artefact.export._source import Source, copy_base, copy_tokenizer, without_place
from fiatkit.artefact.preparation import PREPARATION
from fiatkit.errors import EnvironmentProblem, FatalProviderError, MissingExtraError, UsageError
from fiatkit.files import LOCK, write_json
from fiatkit.models import catalogue

USE = """
import fiatkit

model = fiatkit.load("hub:OWNER/NAME"{base})
print(model.predict("rows.jsonl"))
"""


def write(source: Source, folder: Path) -> tuple[str, str]:
    """Copy the artefact, with tokenizer and base for those who have no fiatkit."""
    put_artefact(source, folder)
    where = ""
    if source.is_adapter:
        load = peft.loading_code(source)
        if not source.hub_base and source.copy_base:
            copy_base(source, folder / "base")
            where = "The base, exactly as it was tuned, is in the folder `base`. "
    else:
        load = merged.loading_code(source)
    copy_tokenizer(source, folder)
    code = fenced(transformers_code(source, load))
    without = f"Without fiatkit, in a copy of the repository. {where}\n\n{code}"
    use, there = USE.format(base=""), ""
    if not source.has_name:
        there = " in a copy of the repository, where the base is in the folder `base`"
        use = USE.format(base=', base="base"')
    return f"With fiatkit{there}:\n\n{fenced(use)}\n\n{without}", ""


def put_artefact(source: Source, folder: Path) -> None:
    """Copy the artefact; of where its models lay on this machine, no more than their own names."""
    artefact = source.artefact
    for name in artefact.manifest.files:
        shutil.copyfile(artefact.folder / name, folder / name)
    small = artefact.base if source.has_name else artefact.manifest.small["name"]
    large = _without_place(artefact.preparation["large"])
    write_json(folder / PREPARATION, artefact.preparation | {"small": small, "large": large})
    files = {**artefact.manifest.files, PREPARATION: catalogue.sha256_of(folder / PREPARATION)}
    large = _without_place(artefact.manifest.large)
    replace(artefact.manifest, files=files, large=large).write(folder)


def _without_place(large: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A large model with the name of its file in place of a path."""
    if large is None or "model" not in large:
        return None if large is None else dict(large)
    return {**large, "model": without_place(str(large["model"]))}


def check_name(repository: str) -> None:
    """Raise UsageError unless this is the name of a repository, as `owner/name`."""
    if "@" in repository or not catalogue.HUB_ID.fullmatch(repository):
        raise UsageError(f'"{repository}" is no name of a repository.', "Write owner/name.")


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Upload a folder that was exported to the hub, making the repository if there is none.

    The token is that of `hf auth login` or of the environment variable HF_TOKEN.

    Args:
        folder: what `fiat export` wrote, in any form.
        repository: `owner/name`.
        private: whether only its owner may see it; one that others see is then refused.

    Returns:
        The address of the commit.

    Raises:
        UsageError: that is no name of a repository, or `private` is asked of one that is not.
        FatalProviderError: the hub refuses, or cannot be reached.
    """
    check_name(repository)
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise MissingExtraError("huggingface_hub", "local", "The hub") from None
    api = huggingface_hub.HfApi()
    again = f'The folder is written; then: hf upload {repository} "{folder}"'
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.repo_info(repository).private:
            raise UsageError(f'"{repository}" is there, and everybody sees it.', "Choose another.")
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Upload by fiatkit",
            ignore_patterns=[LOCK],
        )
    except UsageError:
        raise
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "")
        hint = f"Log in with `hf auth login`, as somebody who may write there. {again}"
        raise FatalProviderError(f'The hub refuses "{repository}" ({status}).', hint) from None
    except Exception as error:  # of its HTTP client too; their texts may hold the token
        told = f"The hub cannot be used ({type(error).__name__})."
        raise FatalProviderError(told, again) from None
    return str(done.commit_url)


def fetch(repository: str) -> Path:
    """Bring an artefact here from `owner/name[@revision]` of the hub: the files of its manifest,
    and no others.

    Returns:
        A folder of plain files in fiatkit's cache; a commit that is there is not fetched again.

    Raises:
        ModelFileError: the hub does not deliver it.
        ArtefactError: its manifest is damaged, or of a newer format.
    """
    from fiatkit.artefact.checks import check_names
    from fiatkit.models._fetch import hub_file

    name, _, revision = repository.partition("@")
    first = hub_file(name, revision or None, manifest.MANIFEST)
    commit = first.parent.name
    target = catalogue.cache_folder() / "artefacts" / name / commit
    sums = manifest.read(first.parent).files
    check_names(target, sums, manifest.MANIFEST)
    work = target.with_name(f".{commit}.part")
    try:
        with catalogue.locked(target.parent):
            if target.is_dir():
                return target
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            for file in (*sums, manifest.MANIFEST):
                shutil.copyfile(hub_file(name, commit, file), work / file)
            work.rename(target)
    except OSError as error:
        raise EnvironmentProblem(f'Cannot write "{target}": {error.strerror or error}.') from None
    return target
