"""RunConfig: everything that a comparison depends on, read from one strict YAML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator

from fiatkit import registry
from fiatkit.errors import UnknownNameError
from fiatkit.models import Device
from fiatkit.models.cluster import RaySettings
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price
from fiatkit.recipes import Writer, named
from fiatkit.records import Side
from fiatkit.settings import Strict, load, parse
from fiatkit.tasks import DataSettings
from fiatkit.tuning import TuningSettings

OWN_PROVIDER = "transformers"  # in which the small model writes


class LargeSettings(Strict):
    """Which large model. The other keys are the provider's own.

    Attributes:
        provider: the name of a plug-in.
        batch: have `fiat expand` use the provider's batches, at their lower price.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    provider: str = "llama_cpp"
    batch: bool = False

    @field_validator("provider")
    @classmethod
    def _known_provider(cls, value: str) -> str:
        known = registry.names("models.providers")
        if value not in known:
            raise ValueError(UnknownNameError("provider", value, known).one_line)
        return value

    def values_for_provider(self) -> dict[str, Any]:
        """All keys, as the provider's own settings class reads them."""
        return {"provider": self.provider, **(self.model_extra or {})}


class SmallSettings(Strict):
    """Which small model, and where it computes.

    Attributes:
        model: a name of the catalogue (`fiat models list`), a folder, or a hub id.
        plain: its twin before instruction tuning, named likewise; without it, recipes that tune
            the plain base are not run.
        device: cpu, cuda, one of several as cuda:1, mps, or auto for the best that is there.
    """

    model: str
    plain: str | None = None
    device: Device = "auto"


class SetFitSettings(Strict):
    """How the recipe `setfit` is trained. The defaults are those of its paper (arXiv 2209.11055).

    Attributes:
        model: a sentence-transformer with safetensors weights, a folder or a hub id; without it,
            the recipe is not run.
        pairs: pairs of the same label, and as many of different ones, for each training row.
        epochs: passes over the pairs.
        batch_rows: pairs of one step.
    """

    model: str | None = None
    pairs: int = Field(default=20, ge=1)
    epochs: int = Field(default=1, ge=1)
    batch_rows: int = Field(default=16, ge=1)


class RunConfig(Strict):
    """A comparison: recipes x sizes x seeds on one task, one data set and one pair of models.

    Paths are relative to the YAML file's folder.

    Attributes:
        version: of this format.
        title: heads the report.
        task: a task file, or the name of a built-in task (`fiat tasks list`).
        data: where the rows are.
        large: the model that writes rationales.
        small: the model that is tuned.
        recipes: what is compared: names of `fiat compare --list-recipes`.
        sizes: numbers of training rows; `all` is as many as are left beside dev and test rows.
        seeds: each recipe and size is tuned once with each of them.
        tuning: how the small model is tuned.
        setfit: the recipe `setfit`.
        truncate: where the longest field of a row that is too long is cut; default: the row is
            skipped.
        floors: whether to add the most frequent label and TF-IDF with logistic regression.
        max_failed: share of the rationales that may have failed before the run ends with exit 5.
        concurrency: calls of the large model at once; default: the provider's.
        limits: what the large model may cost, and how often it is asked again.
        prices: by the model's name.
        engine: ray has `fiat expand` use the workers of a Ray cluster.
        ray: the cluster, for `engine: ray`.
        outside: predictions of other systems, JSON lines of id and answer, by the name of their
            line in the tables.
        track: follow the run in these too: mlflow, trackio, wandb (extra `track`).
        track_rows: send trackers report.html as well, which quotes rows of the data.
        out: the run folder; default: `runs/<name of the file>` in the current folder.
        store: the file of all rationales; default: `runs/rationales.sqlite` in the current folder.
    """

    version: Literal[1] = 1
    title: str = ""
    task: str
    data: DataSettings = DataSettings()
    large: LargeSettings = LargeSettings()
    small: SmallSettings
    recipes: list[str] = Field(default=["icl", "lora", "instruct", "fiat"], min_length=1)
    sizes: list[int | Literal["all"]] = Field(default=[100], min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    tuning: TuningSettings = TuningSettings()
    # Left out of fingerprints where they say nothing, so that older ones still hold.
    setfit: SetFitSettings = Field(
        default=SetFitSettings(), exclude_if=lambda value: value == SetFitSettings()
    )
    truncate: Side | None = Field(default=None, exclude_if=lambda value: value is None)
    floors: bool = True
    max_failed: float = Field(default=0.05, ge=0, le=1)
    concurrency: int | None = Field(default=None, ge=1)
    limits: Policy = Policy()
    prices: dict[str, Price] = {}
    engine: Literal["local", "ray"] = "local"
    ray: RaySettings = RaySettings()
    outside: dict[str, Path] = {}
    track: list[str] = []
    track_rows: bool = False
    out: Path | None = None
    store: Path | None = None

    @field_validator("recipes")
    @classmethod
    def _known_recipes(cls, value: list[str]) -> list[str]:
        for name in value:
            try:
                named(name)
            except UnknownNameError as error:
                raise ValueError(error.one_line) from None
        return list(dict.fromkeys(value))

    @field_validator("sizes", mode="before")
    @classmethod
    def _sizes_are_rows(cls, value: Any) -> Any:
        for size in value if isinstance(value, list) else ():
            if size != "all" and (type(size) is not int or size < 1):
                told = f"each is a number of training rows, at least 1, or all (given: {size!r})"
                raise ValueError(told)
        return list(dict.fromkeys(value)) if isinstance(value, list) else value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if any(number < 0 for number in value):
            raise ValueError("no seed may be negative")
        return list(dict.fromkeys(value))

    def needs_large(self) -> bool:
        """Whether any recipe calls the large model."""
        return any(named(name).writer == "large" for name in self.recipes)

    def writer_values(self, writer: Writer) -> dict[str, Any]:
        """The `large:` block of the model that writes; the small one writes as one in process."""
        if writer == "large":
            return self.large.values_for_provider()
        return {
            "provider": OWN_PROVIDER,
            "model": self.small.model,
            "device": self.small.device,
        }

    def writer_name(self, writer: Writer) -> tuple[str, str]:
        """Provider and model by which a writer's texts are known in the store."""
        values = self.writer_values(writer)
        return str(values["provider"]), str(values.get("model"))

    def fingerprint(self) -> str:
        """sha256 over all that a finished cell depends on beside its recipe, size, seed, and the
        plain base."""
        free = {"recipes", "sizes", "seeds", "title", "out", "store", "max_failed", "concurrency"}
        free |= {"floors", "limits", "prices", "engine", "ray", "outside", "track", "track_rows"}
        unused: dict[str, Any] = {**dict.fromkeys(free, True), "large": {"batch"}}
        unused |= {"tuning": {"checkpoint_every"}, "small": {"plain"}}
        values = self.model_dump(mode="json", exclude=unused)
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def read_config(given: Path | str | Mapping[str, Any]) -> RunConfig:
    """Read a run YAML, or the same keys and values from Python, and make paths absolute.

    Paths in a file begin at the file's folder, paths given from Python at the current folder.

    Raises:
        SettingsError: a key or value is wrong; with a hint.
    """
    if isinstance(given, Mapping):
        return _placed(parse(RunConfig, dict(given), "settings"), Path.cwd(), "run")
    path = Path(given)
    return _placed(load(RunConfig, path), path.resolve().parent, path.stem)


def _placed(config: RunConfig, base: Path, name: str) -> RunConfig:
    """The same settings with absolute paths, and with places for run folder and store."""
    updates: dict[str, Any] = {"data": _absolute(config.data, base)}
    task = config.task
    if task.endswith((".yaml", ".yml")) and not Path(task).is_absolute():
        updates["task"] = str(base / task)
    updates["outside"] = {name: base / path for name, path in config.outside.items()}
    for key in ("out", "store"):
        value = getattr(config, key)
        if value is not None and not value.is_absolute():
            updates[key] = base / value
    if config.out is None:
        updates["out"] = Path.cwd() / "runs" / name
    if config.store is None:
        updates["store"] = Path.cwd() / "runs" / "rationales.sqlite"
    return config.model_copy(update=updates)


def _absolute(data: DataSettings, base: Path) -> DataSettings:
    """The same data settings with paths that hold wherever the command runs."""
    updates: dict[str, Path] = {}
    for key in ("file", "train", "dev", "test"):
        path = getattr(data, key)
        if path is not None and not path.is_absolute() and not str(path).startswith(("$", "hub:")):
            updates[key] = base / path
    return data.model_copy(update=updates)
