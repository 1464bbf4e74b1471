"""One tuned cell: render the pairs, tune a fresh small model, answer the test rows, keep it."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiatkit import artefact, metrics, prompts, registry
from fiatkit._version import __version__
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.progress import Progress
from fiatkit.experiment.runnable import base_of
from fiatkit.experiment.same_rows import left_out_notes
from fiatkit.experiment.scores import to_keep
from fiatkit.experiment.usable import no_better, refuse_too_few, usable_pairs
from fiatkit.models.local import SmallModel
from fiatkit.recipes import Recipe, named
from fiatkit.recipes.predictor import Predictor
from fiatkit.records import Example, Prediction, Rationale, ScoredRow, TrainingPair
from fiatkit.tuning import Checkpoints, TuningResult, TuningSettings, preflight, tune
from fiatkit.tuning.tuner import Row, encode_rows


def tuned_cell(
    plan: Plan,
    cell: Cell,
    rationales: Mapping[str, Rationale],
    progress: Progress,
    title: str,
) -> tuple[list[Prediction], dict[str, Any]]:
    """Tune and predict. Returns the test predictions and the cell's record so far."""
    train = plan.train_rows(cell)
    checkpoints = checkpoints_of(plan, cell, checkpoint_folder(plan, cell), progress)
    predictor, result, notes = tune_recipe(
        plan, cell, train, rationales, progress, title, checkpoints
    )
    began = time.monotonic()
    progress.stage(f"{title}: answering", len(plan.data.test))
    queries = [e.query for e in plan.data.test]
    predictions = predictor.predict(queries, rationales, progress.advance)
    seconds = time.monotonic() - began
    notes = [*left_out_notes(plan, cell), *notes, *cut_notes(predictions)]
    target = plan.out / "cells" / cell.folder / "adapter"
    known = to_keep(plan, predictor, rationales, predictions)
    if target.exists():  # of an attempt that was stopped before its cell was written
        shutil.rmtree(target)
    prepared = preparation(plan, predictor, cell, train, result)
    predictor.small.refuse_changed_files()
    artefact.save(target, predictor.small, prepared, **known)
    record = {
        "label": predictor.recipe.label,
        "train_groups": len({row.group for row in train}),
        "history": [dict(entry) for entry in result.history],
        "best_epoch": result.best_epoch,
        "seconds": {"rationales": 0.0, "tuning": result.seconds, "prediction": seconds},
        "tuned_tokens": result.tokens,
        "tokens": tokens_by_language(predictor.small, plan.data.test),
        "environment": result.environment,
        "no_better": no_better(plan, train, result.best_score),
        "notes": notes,
    }
    return predictions, record


def checkpoint_folder(plan: Plan, cell: Cell) -> Path:
    """Where a cell's checkpoints are until it is finished."""
    return plan.out / "cells" / cell.folder / "checkpoints"


def checkpoints_of(plan: Plan, cell: Cell, folder: Path, progress: Progress) -> Checkpoints:
    """The checkpoints of a cell's tuning, which hold for its task, data and recipe only."""
    about = {
        "task": plan.task.fingerprint,
        "data": plan.data.fingerprint,
        "recipe": cell.recipe,
        "truncate": plan.config.truncate,
    }
    return Checkpoints(folder, about, force=plan.force_resume, say=progress.say)


def tune_recipe(
    plan: Plan,
    cell: Cell,
    train: Sequence[Example],
    rationales: Mapping[str, Rationale],
    progress: Progress,
    title: str,
    checkpoints: Checkpoints,
) -> tuple[Predictor, TuningResult, list[str]]:
    """Tune a fresh small model as `cell` says, or go on where that was stopped.

    Returns:
        The model, ready to predict; what the tuning did; and what was noticed.
    """
    config, task = plan.config, plan.task
    recipe = named(cell.recipe).tuned_by(config.tuning)
    pairs, notes = usable_pairs(plan, cell, train, rationales)
    small = SmallModel.load(base_of(config, recipe), device=config.small.device)
    settings = config.tuning.for_recipe(str(recipe.method), small.context)
    predictor = Predictor(
        task, recipe, small, max_length=settings.max_length, truncate=config.truncate
    )
    bare = sum(pair.prompt.part("rationale") is None for pair in pairs)
    if recipe.reads_rationale and (bare or recipe.rationale_dropout):
        notes.append(f"{bare} of {len(pairs)} training rows are read without their rationale")
    if recipe.rationale == "target":
        notes += _unlike_targets(train, rationales)
    rows, skipped, _ = encode_rows(small, pairs, settings.max_length, predictor.reserve)
    notes += [f"{count} training rows skipped: {why}" for why, count in skipped.items()]
    refuse_too_few(plan, train, {row.query_id for row in rows}, notes)
    notes += preflight.refuse(flaws_of(predictor, pairs, rows))
    dev = plan.data.dev
    bar = _TuningBar(progress, title)

    def dev_score() -> float | None:
        queries = [e.query for e in dev]
        found = predictor.predict(queries, rationales, lambda done: bar.dev(done, len(dev)))
        rows = [ScoredRow(e, p) for e, p in zip(dev, found, strict=True)]
        value = metrics.corpus(task.metrics[0], rows, task.choices)
        bar.scored(task.metrics[0], value)
        return value

    result = tune(
        small,
        pairs,
        settings,
        seed=cell.seed or 0,
        reserve=predictor.reserve,
        dev_score=dev_score if dev else None,
        on_progress=bar.step,
        checkpoints=checkpoints,
    )
    notes += [f"{count} training rows had a {what} cut" for what, count in result.cut.items()]
    if dev and result.best_score is None:
        notes.append(f"{task.metrics[0]} is not defined on the dev rows: the last epoch is kept")
    told = (no_better(plan, train, result.best_score), serving(recipe, settings))
    notes += [*(note for note in told if note), *result.notes()]
    if not small.packs:
        notes.append("Rows are padded: this architecture cannot share what rows begin with.")
    return predictor, result, notes


def _unlike_targets(train: Sequence[Example], rationales: Mapping[str, Rationale]) -> list[str]:
    """Rows whose rationale argues for another answer than the one that is learnt behind it."""
    unlike = sum(rationales[row.id].answer != row.target for row in train)
    told = "training rows end in their target after a rationale that does not name it"
    return [f"{unlike} of {len(train)} {told}"] if unlike else []


def flaws_of(
    predictor: Predictor, pairs: Sequence[TrainingPair], rows: Sequence[Row]
) -> list[preflight.Flaw]:
    """Check pairs, and the same as ids, against what `predictor` will read, before they are tuned
    on."""
    labels = [prompts.target_text(predictor.task, label) for label in predictor.task.choices or []]
    small, read, reserve = predictor.small, predictor.read, predictor.reserve
    return preflight.check(small, pairs, rows, read, reserve=reserve, labels=labels)


def serving(recipe: Recipe, settings: TuningSettings) -> str:
    """What a server needs to load what this recipe tunes; empty if it loads as it is."""
    method = registry.get("tuning.methods", str(recipe.tuned_by(settings).method))
    told = method.serving(settings)
    return f"{told[:1].upper()}{told[1:]}." if told else ""


def tokens_by_language(small: SmallModel, rows: Sequence[Example]) -> dict[str, dict[str, int]]:
    """What the small model's tokenizer makes of the rows' fields, for each language: rows,
    characters, words between blanks, tokens."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        counts = found.setdefault(row.query.language, Counter(rows=0))
        counts["rows"] += 1
        for text in row.query.fields.values():
            counts["characters"] += len(text)
            counts["words"] += len(text.split())
            counts["tokens"] += small.count_tokens(text)
    return {language: dict(counts) for language, counts in found.items()}


def cut_notes(predictions: Sequence[Prediction]) -> list[str]:
    """How many rows were answered from a field that was cut, if any were."""
    cut = [prediction for prediction in predictions if prediction.cut]
    if not cut:
        return []
    tokens = sum(prediction.cut for prediction in cut)
    return [f"{len(cut)} rows were answered with a field cut ({tokens} tokens in all; truncate)"]


class _TuningBar:
    """Forwards the tuner's steps, and what of dev is scored between epochs, to the display."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title
        self._done, self._loss = 0, ""

    def step(self, done: int, total: int, loss: float) -> None:
        """One step was taken."""
        if not self._done:
            self._progress.stage(self._title, total)
        self._done, self._loss = done, f"loss {loss:.3f}"
        self._progress.advance(done, self._loss)
        self._progress.measured(done, {"loss": loss})

    def dev(self, done: int, total: int) -> None:
        """So many rows of dev are answered, after an epoch."""
        if self._done:
            self._progress.advance(self._done, f"{self._loss}, scoring dev: {done} of {total}")

    def scored(self, metric: str, value: float | None) -> None:
        """The dev score after an epoch."""
        if value is not None:
            self._progress.measured(self._done, {f"dev/{metric}": value})


def preparation(
    plan: Plan,
    predictor: Predictor,
    cell: Cell,
    train: Sequence[Example],
    result: TuningResult,
) -> dict[str, Any]:
    """Everything that prediction must do exactly as tuning did, and what was tuned on."""
    known = planned(plan, cell, train)
    known["tuned_on"] |= {
        "best_epoch": result.best_epoch,
        "best_score": result.best_score,
        "forced": [change for resume in result.resumed for change in resume["forced"]],
    }
    return {"fiatkit": __version__, **known, "max_length": predictor.max_length}


def planned(plan: Plan, cell: Cell, train: Sequence[Example]) -> dict[str, Any]:
    """What of a preparation is known before anything is tuned: the same for the same plan."""
    ids = "\n".join(example.id for example in train)
    recipe = named(cell.recipe).tuned_by(plan.config.tuning)
    return {
        "prompts_version": prompts.VERSION,
        "task": plan.task.model_dump(mode="json"),
        "task_fingerprint": plan.task.fingerprint,
        "recipe": recipe.to_dict(),
        "large": plan.config.writer_values(writer) if (writer := recipe.serving_writer) else None,
        "prices": {name: p.model_dump(mode="json") for name, p in plan.config.prices.items()},
        "small": base_of(plan.config, recipe),
        "truncate": plan.config.truncate,
        "tuned_on": {
            "rows": len(train),
            "seed": cell.seed,
            "ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
            "data_fingerprint": plan.data.fingerprint,
            "settings": plan.config.tuning.model_dump(mode="json", exclude={"checkpoint_every"}),
        },
    }
