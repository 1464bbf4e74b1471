"""Fill the cells of one split. Each is written when it is finished and skipped ever after.

The large model's stage comes first and whole, then its process ends: on one machine the two
models must not share the cores.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fiatkit import registry
from fiatkit._version import __version__
from fiatkit.errors import BudgetError
from fiatkit.experiment import folder
from fiatkit.experiment.agreement import Agreement
from fiatkit.experiment.beforehand import check_small
from fiatkit.experiment.classifiers import ROOM
from fiatkit.experiment.floors import LABELS as FLOOR_LABELS
from fiatkit.experiment.floors import PREDICT
from fiatkit.experiment.plan import Cell, Plan
from fiatkit.experiment.progress import Progress, Silent
from fiatkit.experiment.same_rows import (
    Rationales,
    Written,
    left_out_notes,
    texts_of,
    with_other_rows,
    with_same_rows,
)
from fiatkit.experiment.scores import score
from fiatkit.experiment.tuned import checkpoint_folder, tuned_cell
from fiatkit.experiment.usable import (
    check_dev,
    check_methods,
    check_size,
    refuse_no_better,
    refuse_unwritten,
)
from fiatkit.files import locked
from fiatkit.recipes import Writer, named
from fiatkit.recipes.predictor import in_context_answers
from fiatkit.records import Prediction, Rationale

if TYPE_CHECKING:
    from fiatkit.reasoning import Reasoner, Standing

WRITERS: tuple[Writer, ...] = ("large", "small")


def fill(plan: Plan, progress: Progress | None = None) -> None:
    """Run all cells of `plan`, which has no folds, that its run folder does not hold yet.

    Raises:
        ProviderError: the large model cannot be used; what was paid for is in the store.
        UsageError: the rows of a cell cannot be tuned on.
        BudgetError: all is done, but more rationales failed than `max_failed` allows, or a tuned
            model is no better than the baseline and had to be.
    """
    progress = progress or Silent()
    with locked(plan.out, "run folder"):
        folder.check_same(plan)
        pending = [cell for cell in plan.cells if not plan.finished(cell)]
        for cell in plan.cells:
            if plan.finished(cell):  # checkpoints that a kill just behind its end has left
                shutil.rmtree(checkpoint_folder(plan, cell), ignore_errors=True)
        if len(pending) < len(plan.cells):
            done = len(plan.cells) - len(pending)
            progress.say(f"{done} of {len(plan.cells)} cells are finished already.")
        check_dev(plan)
        if not pending:
            _check_better(plan)
            return
        for cell in pending:
            if cell.is_tuned:
                check_size(plan, plan.train_rows(cell))
        check_methods(plan.config, [named(cell.recipe) for cell in pending if cell.is_tuned])
        begin(plan)
        written = {w: _writing_stage(plan, pending, w, progress) for w in WRITERS}
        folder.write_test_rows(plan, written["large"])
        plan = with_same_rows(plan, pending, written)
        again = _unfinish(plan, progress)
        for writer, found in written.items():
            found.update(_writing_stage(plan, again, writer, progress))
        for cell in (*pending, *again):
            if cell.is_floor:
                progress.begins(plan, cell)
                _floor_cell(plan, cell)
                progress.finished(plan, cell)
        tuned = [cell for cell in (*pending, *again) if cell.is_tuned]
        for index, cell in enumerate(tuned):
            progress.begins(plan, cell)
            title = f"[{index + 1}/{len(tuned)}] {cell.recipe} on {cell.size} rows"
            _tuned(plan, cell, written, progress, f"{title}, seed {cell.seed}")
            progress.finished(plan, cell)
        for cell in (*pending, *again):
            if cell.is_classifier:  # some stand on tuned cells
                progress.begins(plan, cell)
                _classifier_cell(plan, cell, written[cell.writer] if cell.writer else {})
                progress.finished(plan, cell)
        _check_failures(plan, written["large"])
        _check_better(plan)


def _check_better(plan: Plan) -> None:
    """Judge the tuned cells, also those that were finished before."""
    cells = [cell for cell in plan.cells if cell.is_tuned]
    files = {cell.folder: plan.out / "cells" / cell.folder / "cell.json" for cell in cells}
    records = {name: json.loads(file.read_text("utf-8")) for name, file in files.items()}
    refuse_no_better(plan, {name: found.get("no_better", "") for name, found in records.items()})


def begin(plan: Plan) -> None:
    """Write run.json, after checking that the folder holds no other experiment's cells."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    folder.start(plan, _models(plan), now, __version__)


def _models(plan: Plan) -> dict[str, Any]:
    """What is known of the models before they are loaded."""
    large = plan.config.large.values_for_provider()
    large.setdefault("model", large["provider"])
    return {
        "large": large if any(cell.writer == "large" for cell in plan.cells) else None,
        "small": plan.config.small.model_dump(mode="json"),
    }


def _unfinish(plan: Plan, progress: Progress) -> list[Cell]:
    """The cells that must be made again, since they were trained on rows that another recipe,
    which was added since, cannot use."""
    again = with_other_rows(plan)
    for cell in again:
        progress.say(
            f"{cell.recipe} on {cell.size} rows, seed {cell.seed}, is made again: "
            f"{'; '.join(left_out_notes(plan, cell))}."
        )
        (plan.out / "cells" / cell.folder / "cell.json").unlink()
    return again


def _writing_stage(
    plan: Plan, pending: Sequence[Cell], writer: Writer, progress: Progress
) -> dict[str, Rationale]:
    """Get every rationale by `writer` that the pending cells need; fill the cells that it answers
    in context on the way."""
    cells = [cell for cell in pending if cell.writer == writer]
    if not cells:
        return {}
    queries = plan.queries_for(writer)
    test = [e.query for e in plan.data.test]
    found: dict[str, Rationale] = {}
    with open_reasoner(plan, progress, writer) as reasoner:
        if reasoner.missing(queries):
            check_small(plan, [cell for cell in pending if cell.is_tuned])
        progress.stage(f"rationales by {reasoner.model.identity.model}", len(queries))

        def count(now: Standing) -> None:
            failed = now.failed + sum(rationale.status != "ok" for rationale in found.values())
            stored = reasoner.tally.from_store
            whole = replace(now, from_store=stored, failed=failed)
            progress.advance(len(found) + now.done, str(whole))

        in_context = [cell for cell in cells if named(cell.recipe).in_context]
        if in_context:
            found.update(reasoner.expand(test, on_progress=count))
            for cell in in_context:
                progress.begins(plan, cell)
                _in_context_cell(plan, cell, reasoner, found)
                progress.finished(plan, cell)
        rest = [query for query in queries if query.id not in found]
        if rest:
            found.update(reasoner.expand(rest, on_progress=count))
    progress.say(str(Agreement(plan, reasoner.model.identity.model).count_all(found.values())))
    if any(cell.is_tuned for cell in cells):
        refuse_unwritten(reasoner.model.identity.model, found)
    return found


def open_reasoner(plan: Plan, progress: Progress, writer: Writer = "large") -> Reasoner:
    """The reasoner of a run: the model that writes, its store. Use it as a context manager."""
    from fiatkit.models import create_chat_model
    from fiatkit.models.cluster import Cluster
    from fiatkit.reasoning import RationaleStore, Reasoner

    config = plan.config
    assert config.store is not None
    values = config.writer_values(writer)
    on_ray = writer == "large" and config.engine == "ray"
    model = Cluster(values, config.ray) if on_ray else create_chat_model(values)
    store = RationaleStore(config.store)
    return Reasoner(
        plan.task,
        model,
        store,
        concurrency=config.concurrency if writer == "large" else None,
        policy=config.limits if writer == "large" else None,
        prices=config.prices,
        run=plan.out.name,
        say=progress.say,
        small=config.writer_name("small"),
    )


def _floor_cell(plan: Plan, cell: Cell) -> None:
    began = time.monotonic()
    train = plan.train_rows(cell)
    queries = [e.query for e in plan.data.test]
    predictions = PREDICT[cell.recipe](train, queries, plan.task.choices or [])
    record = {
        "label": FLOOR_LABELS[cell.recipe],
        "train_groups": folder.distinct_groups(train),
        "usage": usage_of([]),
        "test_usage": usage_of([]) | {"seconds": 0.0},
        "seconds": {"rationales": 0.0, "tuning": 0.0, "prediction": time.monotonic() - began},
    }
    finish_cell(plan, cell, predictions, record)


def _classifier_cell(plan: Plan, cell: Cell, rationales: Rationales) -> None:
    found = registry.get(ROOM, cell.recipe).answer(plan, cell, rationales)
    calls = [*found.fitting, *found.serving]
    record = {
        "label": named(cell.recipe).label,
        "train_groups": folder.distinct_groups(plan.train_rows(cell)),
        "usage": usage_of(calls),
        "test_usage": usage_of(found.serving) | {"seconds": sum(r.seconds for r in found.serving)},
        "seconds": {"rationales": sum(r.seconds for r in calls), **found.seconds},
        "notes": found.notes,
    }
    finish_cell(plan, cell, found.predictions, record)


def _in_context_cell(plan: Plan, cell: Cell, reasoner: Reasoner, rationales: Rationales) -> None:
    queries = [e.query for e in plan.data.test]
    recipe = named(cell.recipe)
    held = reasoner.constrain(queries, rationales) if recipe.constrained else None
    used = [rationales[query.id] for query in queries]
    usage = usage_of(used if recipe.writer == "large" else [])
    if held is not None:
        usage["follow_up_calls"] = sum(1 for r in used if r.status == "ok" and r.answer is None)
    record = {
        "label": recipe.label,
        "train_groups": None,
        "usage": usage,
        "test_usage": usage | {"seconds": sum(r.seconds for r in used)},
        "seconds": {"rationales": sum(r.seconds for r in used), "tuning": 0.0, "prediction": 0.0},
    }
    finish_cell(plan, cell, in_context_answers(queries, rationales, held), record)


def _tuned(plan: Plan, cell: Cell, written: Written, progress: Progress, title: str) -> None:
    texts = texts_of(plan, cell, plan.train_rows(cell), written)
    predictions, record = tuned_cell(plan, cell, texts, progress, title)
    recipe = named(cell.recipe)
    rows = {"train": plan.train_rows(cell), "dev": plan.data.dev, "test": plan.data.test}
    own = written[recipe.writer] if recipe.writer else {}
    read = {split: [own[e.id] for e in rows[split]] for split in recipe.written_for}
    calls = [rationale for some in read.values() for rationale in some]
    test = read.get("test", [])
    paid = recipe.writer == "large"
    record["usage"] = usage_of(calls if paid else [])
    record["test_usage"] = usage_of(test if paid else []) | {
        "seconds": sum(r.seconds for r in test)
    }
    record["seconds"]["rationales"] = sum(r.seconds for r in calls)
    finish_cell(plan, cell, predictions, record)
    shutil.rmtree(checkpoint_folder(plan, cell), ignore_errors=True)


def finish_cell(
    plan: Plan, cell: Cell, predictions: Sequence[Prediction], record: dict[str, Any]
) -> None:
    """Score the predictions and write the cell; from here on it is finished."""
    record["counts"] = dict(Counter(p.status for p in predictions))
    record.setdefault("history", [])
    record.setdefault("notes", [])
    scores = score(plan.task, plan.data.test, predictions)
    target = plan.out / "cells" / cell.folder
    if not (target / "adapter").exists() and target.exists():
        shutil.rmtree(target)
    folder.write_cell(plan, cell, predictions, scores, record)


def usage_of(rationales: Sequence[Rationale]) -> dict[str, Any]:
    """Calls and tokens behind these rationales, whether made now or taken from the store."""
    usages = [asdict(rationale.usage) for rationale in rationales]
    totals: dict[str, Any] = {"calls": len(rationales)}
    for key in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        known = [u[key] for u in usages if u[key] is not None]
        totals[key] = sum(known) if known or not usages else None
    return totals


def _check_failures(plan: Plan, rationales: Rationales) -> None:
    failed = Counter(r.status for r in rationales.values() if r.status != "ok")
    share = sum(failed.values()) / max(1, len(rationales))
    if share > plan.config.max_failed:
        reasons = ", ".join(f"{count} {status}" for status, count in failed.most_common())
        raise BudgetError(
            f"{sum(failed.values())} of {len(rationales)} rationales failed ({reasons}), more "
            f"than max_failed = {plan.config.max_failed:.0%}. All cells are written.",
            "Look at the rows in the report; raise reasoning.max_tokens if they were truncated.",
        )
