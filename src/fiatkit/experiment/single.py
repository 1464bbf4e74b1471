"""Work outside a comparison: tune one artefact, answer new rows with it, score a file."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fiatkit import artefact
from fiatkit.artefact import Artefact
from fiatkit.config import OWN_PROVIDER, RunConfig
from fiatkit.errors import ArtefactError, UsageError
from fiatkit.experiment.agreement import Agreement
from fiatkit.experiment.beforehand import check_small
from fiatkit.experiment.finished import artefact_at, best_of, made_by
from fiatkit.experiment.folder import write_predictions
from fiatkit.experiment.plan import Cell, Plan, make_plan
from fiatkit.experiment.predictions import no_labels, predictions_for
from fiatkit.experiment.progress import Progress
from fiatkit.experiment.runnable import base_of
from fiatkit.experiment.runner import open_reasoner
from fiatkit.experiment.same_rows import texts_of
from fiatkit.experiment.scores import large_identity, score, to_keep
from fiatkit.experiment.tuned import checkpoints_of, preparation, tune_recipe
from fiatkit.experiment.usable import (
    check_dev,
    check_methods,
    check_size,
    no_better,
    refuse_no_better,
    refuse_unwritten,
)
from fiatkit.files import check_writable, locked
from fiatkit.models import create_chat_model
from fiatkit.reasoning import RationaleStore, Reasoner, Shard
from fiatkit.reasoning.batch import BatchTally
from fiatkit.reasoning.policy import Policy
from fiatkit.reasoning.prices import Price
from fiatkit.recipes import Recipe, named
from fiatkit.recipes.hints import given
from fiatkit.recipes.predictor import Predictor
from fiatkit.records import Example, Prediction, Query, Rationale, Score
from fiatkit.tasks import Task, load_examples, load_groups, load_new_rows, load_task
from fiatkit.tuning.checkpoints import foreign, newest_about


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `fiat tune` reports."""

    best_epoch: int
    best_score: float | None
    metric: str
    notes: tuple[str, ...]


def tune_one(
    config: RunConfig,
    name: str,
    size: int | None,
    seed: int,
    out: Path,
    progress: Progress,
    frames: Mapping[str, object] | None = None,
    *,
    force_resume: bool = False,
    require_better: bool = False,
) -> Tuned:
    """Tune one recipe and save it as an artefact. Test rows are neither used nor paid for.

    Checkpoints are kept beside `out`, in a folder of its name and ".checkpoints", until the
    artefact is saved; the same call goes on from them. Where the artefact that it makes is there
    already, it is checked, and told once more.

    Raises:
        UsageError: there is something else at `out`, or these rows cannot be tuned on.
        NoBetterError: `require_better` is set and the model is not; no artefact was saved.
    """
    recipe = named(name)
    if not recipe.tune:
        raise UsageError(f'The recipe "{name}" tunes nothing.', "Try fiat, instruct or lora.")
    if size is not None and size < 1:
        raise UsageError(
            f"{size} training rows were asked for; at least 1 is needed.",
            "Leave the size out to tune on all there are.",
        )
    base_of(config, recipe)
    left, there = "", None
    if os.path.lexists(out):
        left, there = _remove_left(out), artefact_at(out)
        if there is None:
            _refuse_existing(out)
    else:
        check_writable(out)
    sizes = [size] if size else ["all"]
    plan = make_plan(config.model_copy(update={"recipes": [name], "sizes": sizes}), frames)
    plan = replace(plan, force_resume=force_resume, require_better=require_better)
    check_dev(plan)
    cell = Cell(recipe.name, size, seed)
    train = list(plan.data.train) if size is None else plan.train_rows(cell)
    cell = replace(cell, size=len(train))
    if there is not None:
        if not made_by(there, plan, cell, train):
            _refuse_existing(out)
        return _told_again(plan, train, there, left)
    check_methods(config, [recipe])
    with _checkpoint_folder(out) as folder:
        return _tune(plan, cell, train, out, folder, progress)


def _told_again(plan: Plan, train: Sequence[Example], found: Artefact, left: str) -> Tuned:
    """What `fiat tune` tells of an artefact that it has made before, as far as that holds it."""
    epoch, score = best_of(found)
    worse = no_better(plan, train, score)
    refuse_no_better(plan, {found.folder.name: worse})
    done = f'"{found.folder}" is finished already, by this very command'
    return Tuned(epoch, score, plan.task.metrics[0], (*filter(None, [worse]), f"{done}{left}."))


def _refuse_existing(out: Path) -> None:
    if os.path.lexists(out):
        raise UsageError(f'"{out}" exists already.', "Choose another folder with --out.")


def _checkpoints_beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoints")


def _remove_left(out: Path) -> str:
    """Remove the checkpoints of a finished artefact, which a kill just behind its end has left;
    returns what to say of it, if there were any."""
    if not (out.name and out.is_dir() and (folder := _checkpoints_beside(out)).is_dir()):
        return ""
    if foreign(folder):
        return ""
    with locked(folder, "checkpoint folder"):
        try:
            made = artefact.read(out).preparation
        except ArtefactError:
            return ""
        about, tuned_on = newest_about(folder), made.get("tuned_on", {})
        own = {
            "task": made.get("task_fingerprint"),
            "data": tuned_on.get("data_fingerprint"),
            "recipe": made["recipe"]["name"],
            "seed": tuned_on.get("seed"),
        }
        if about is not None and any(about.get(key) != value for key, value in own.items()):
            return ""
        shutil.rmtree(folder)
    return "; the checkpoints that it was made from had been left, and are removed"


@contextlib.contextmanager
def _checkpoint_folder(out: Path) -> Iterator[Path]:
    """The folder beside `out` for its checkpoints, held by this process, and gone in the end
    unless there is something to go on from."""
    folder = _checkpoints_beside(out)
    if others := foreign(folder):
        raise UsageError(
            f'Checkpoints would be kept in "{folder}", which holds something else: "{others[0]}".',
            "Choose another folder with --out, or move what is there.",
        )
    with locked(folder, "checkpoint folder"):
        _refuse_existing(out)
        try:
            yield folder
        finally:
            if out.exists() or not any(folder.glob("step-*")):
                shutil.rmtree(folder)


def _tune(
    plan: Plan, cell: Cell, train: Sequence[Example], out: Path, folder: Path, progress: Progress
) -> Tuned:
    check_size(plan, train)
    rationales: Mapping[str, Rationale] = {}
    if writer := named(cell.recipe).writer:
        rows = {"train": train, "dev": plan.data.dev, "test": ()}
        queries = [e.query for s in named(cell.recipe).written_for for e in rows[s]]
        with open_reasoner(plan, progress, writer) as reasoner:
            if reasoner.missing(queries):
                check_small(plan, [cell])
            found = expand(reasoner, queries, progress)
        refuse_unwritten(reasoner.model.identity.model, found)
        rationales = texts_of(plan, cell, train, {writer: found})
    title = f"{cell.recipe} on {len(train)} rows, seed {cell.seed}"
    checkpoints = checkpoints_of(plan, cell, folder, progress)
    predictor, result, notes = tune_recipe(
        plan, cell, train, rationales, progress, title, checkpoints
    )
    refuse_no_better(plan, {out.name: no_better(plan, train, result.best_score)})
    known = to_keep(plan, predictor, rationales)
    predictor.small.refuse_changed_files()
    artefact.save(out, predictor.small, preparation(plan, predictor, cell, train, result), **known)
    return Tuned(result.best_epoch, result.best_score, plan.task.metrics[0], tuple(notes))


def expand(reasoner: Reasoner, queries: list[Query], progress: Progress) -> dict[str, Rationale]:
    """Have the large model write what is not in the store yet, showing progress."""
    progress.stage(f"rationales by {reasoner.model.identity.model}", len(queries))
    return reasoner.expand(queries, on_progress=lambda now: progress.advance(now.done, str(now)))


def write_rationales(
    plan: Plan, progress: Progress, shard: Shard | None = None, batches: float | None = None
) -> tuple[Counter[str], Path]:
    """Have the large model write a plan's rationales, or one part of them, into a store.

    What grows with the rows is the plan: bad rows, ids that stand twice, groups and splits are
    decided over all rows before anything is sent. Writing adds nothing to that.

    Args:
        plan: the run.
        progress: what is told meanwhile.
        shard: which part.
        batches: hand them in as batches first, and look at these so often, in seconds.

    Returns:
        How many have which status, and the store: for a part, one of its own beside the plan's.
    """
    whole = plan.config.store
    assert whole is not None
    path = shard.store(whole) if shard else whole
    plan = replace(plan, config=plan.config.model_copy(update={"store": path}))
    queries = plan.queries_for("large")
    with open_reasoner(plan, progress) as reasoner:
        if shard:
            queries = list(shard.queries(reasoner, queries, whole))
        if batches is not None:
            progress.say(str(reasoner.expand_in_batches(queries, poll=batches)))
        progress.stage(f"rationales by {reasoner.model.identity.model}", len(queries))
        agreement = Agreement(plan, reasoner.model.identity.model)
        counts = reasoner.write(
            queries,
            len(queries),
            on_progress=lambda now: progress.advance(now.done, str(now)),
            on_rationale=agreement.count,
        )
        progress.say(str(agreement))
    return counts, path


def cancel_batches(plan: Plan, progress: Progress, poll: float) -> BatchTally:
    """Stop the open batches of a plan's large model; what they have done is kept."""
    with open_reasoner(plan, progress) as reasoner:
        return reasoner.cancel_batches(poll=poll)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A tuned model from its artefact, with the task and recipe it was tuned with, and the
    settings of the model that writes the rationales (`large`)."""

    task: Task
    recipe: Recipe
    predictor: Predictor
    large: dict[str, Any]
    prices: dict[str, Price]
    artefact: Artefact

    def predict(
        self,
        rows: Path | object,
        store: Path,
        progress: Progress,
        policy: Policy | None = None,
        encoding: str | None = None,
        *,
        skip_bad: bool = False,
    ) -> list[Prediction]:
        """Answer the rows of a file, or of a frame, in their order.

        With `skip_bad`, rows that cannot be read are "skipped:bad_row" instead of an error.
        """
        new = load_new_rows(self.task, rows, encoding, skip_bad=skip_bad)
        queries = new.queries
        if new.bad:
            progress.say(f"{len(new.bad)} bad rows were skipped, such as {new.bad[0]}")
        rationales: Mapping[str, Rationale] = {}
        if self.recipe.serving_writer:
            self._refuse_another_large()
            model = create_chat_model(self.large)
            with Reasoner(
                self.task,
                model,
                RationaleStore(store),
                policy=policy,
                prices=self.prices,
                run="predict",
                say=progress.say,
                small=(OWN_PROVIDER, self.predictor.small.ref),
            ) as reasoner:
                rationales = expand(reasoner, queries, progress)
            shuffled = self.recipe.hint == "shuffled"
            groups = load_groups(self.task, rows, encoding) if shuffled else {}
            seed = self.artefact.preparation["tuned_on"]["seed"] if shuffled else 0
            rationales = given(self.recipe, rationales, [groups], seed)
        progress.stage(f"answers by {self.predictor.small.identity['name']}", len(queries))
        texts = {name: r.text for name, r in rationales.items() if r.status == "ok"}
        answers = {name: Prediction(name, None, "skipped:bad_row") for name in new.ids}
        for answer in self.predictor.predict(queries, rationales, progress.advance):
            name = answer.query_id
            answers[name] = replace(answer, rationale=texts.get(name, ""))
        return list(answers.values())

    def _refuse_another_large(self) -> None:
        """The small model learnt to read one model's rationales, and no other's."""
        wanted, now = self.artefact.manifest.large, large_identity(self.large)
        own = self.recipe.serving_writer == "small"  # which may have been moved
        for what in ("provider", "revision") if own else ("provider", "model", "revision"):
            if wanted is not None and wanted[what] != now[what]:
                raise ArtefactError(
                    f'"{self.artefact.folder}" was tuned on rationales of the {what} '
                    f'"{wanted[what]}", but {now["model"]} is now "{now[what]}".',
                    "Bring the large model back that wrote them, or tune again.",
                )


def read_artefact(folder: Path) -> tuple[Artefact, Task, Recipe]:
    """Read and check all of an artefact that can be without its base model.

    Raises:
        ArtefactError: the artefact was made with other prompts, holds a recipe that this release
            does not know, or is damaged.
    """
    opened = artefact.read(folder)
    prepared = opened.preparation
    try:
        recipe = Recipe.from_dict(prepared["recipe"])
        for price in prepared.get("prices", {}).values():
            Price.model_validate(price)
    except (ValueError, TypeError, KeyError, UsageError):
        raise ArtefactError(
            f'"{folder}" holds a recipe or prices that this release does not know.',
            f"Use fiatkit {prepared['fiatkit']}.",
        ) from None
    if recipe.serving_writer and prepared["large"] is None:
        raise ArtefactError(f'"{folder}" does not say which model writes its rationales.')
    return opened, Task.model_validate(prepared["task"]), recipe


def load_fitted(folder: Path, base: str | None = None) -> Fitted:
    """Open an artefact.

    Args:
        folder: the artefact.
        base: where its base model lies now; default: where it lay when it was tuned.

    Raises:
        ArtefactError: the artefact was made with other prompts, or is damaged.
    """
    return _fitted(*read_artefact(folder), base)


def _fitted(opened: Artefact, task: Task, recipe: Recipe, base: str | None) -> Fitted:
    prepared = opened.preparation
    small = artefact.load_weights(opened, device="auto", base=base)
    predictor = Predictor(
        task,
        recipe,
        small,
        max_length=prepared["max_length"],
        truncate=prepared.get("truncate"),  # older artefacts never cut a field
    )
    writer = prepared["large"]
    if recipe.serving_writer == "small":
        writer = {**writer, "model": base or opened.base}
    prices = {k: Price.model_validate(v) for k, v in prepared.get("prices", {}).items()}
    return Fitted(task, recipe, predictor, writer, prices, opened)


def predict_rows(
    folder: Path,
    rows: Path,
    out: Path,
    store: Path,
    progress: Progress,
    policy: Policy | None = None,
    encoding: str | None = None,
    base: str | None = None,
    *,
    skip_bad: bool = False,
) -> list[Prediction]:
    """Answer the rows of a file with an artefact and write the predictions."""
    check_writable(out)
    opened, task, recipe = read_artefact(folder)
    load_new_rows(
        task, rows, encoding, skip_bad=skip_bad
    )  # mistakes are told before the model loads
    fitted = _fitted(opened, task, recipe, base)
    predictions = fitted.predict(rows, store, progress, policy, encoding, skip_bad=skip_bad)
    write_predictions(out, predictions)
    return predictions


def evaluate_file(
    predictions: Path, gold: Path, task_name: str, encoding: str | None = None
) -> tuple[dict[str, Score], dict[str, int], str]:
    """Score a file of predictions against a file with targets, matched by id.

    `encoding` is that of the file with targets, if it is not UTF-8.

    Returns:
        The scores by metric, the rows by status, and what is to be said of answers that are no
        label of the task, if there are any.

    Raises:
        DataError: a file cannot be read, or they do not hold the same ids.
    """
    task = load_task(task_name)
    examples = load_examples(task, gold, encoding)
    found = predictions_for(predictions, [e.id for e in examples], f'"{gold}"')
    counts = Counter(prediction.status for prediction in found)
    return score(task, examples, found), dict(counts), no_labels(found, task.choices)
