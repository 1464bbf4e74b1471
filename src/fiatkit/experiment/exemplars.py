"""Exemplars out of the user's own rows: chosen, drafted by the large model, put into the task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fiatkit.config import RunConfig
from fiatkit.data.splits import nested_subset
from fiatkit.errors import UnknownNameError, UsageError
from fiatkit.experiment.plan import Plan, make_plan
from fiatkit.files import check_writable, write_whole
from fiatkit.models import create_chat_model
from fiatkit.reasoning import RationaleStore, draft_rationales
from fiatkit.records import Completion, Example
from fiatkit.tasks import Task, load_task
from fiatkit.tasks.exemplars import draft_yaml, merged, read_draft
from fiatkit.tasks.task import ExemplarSettings

NAME = "exemplars.draft.yaml"
HEADER = """\
Worked examples, drafted by {model}, which was shown the right answers.
Mend each until you would be proud of it: the large model will reason as these do. A good one is
short, argues from the text, and ends with its "{marker}" line. Take out what you do not want.
{rows}
Then:  fiat exemplars approve {run}"""
BY_ID = """\
You may change a row's text: held_out says which row it came from, and that row's whole group is
neither trained nor tested on."""
BY_TEXT = """\
Leave each row's text as it is: the task names no id, so that a row is known by its text alone.
Its whole group is neither trained nor tested on."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """What was drafted: where it is, of which rows, by how many calls, and how many need work."""

    path: Path
    rows: tuple[Example, ...]
    calls: int
    todo: int


@dataclass(frozen=True, slots=True)
class Approved:
    """What was put into the task: how many, how many it had, and what its rows are like now."""

    added: int
    known: int
    train_rows: int
    too_large: tuple[int, ...]


def draft(
    config: RunConfig, run_file: Path, count: int, ids: Sequence[str], *, force: bool = False
) -> Drafted:
    """Choose training rows and have the large model draft a rationale for each.

    Args:
        config: of the run.
        run_file: where it was read from, for the hints.
        count: how many rows, if `ids` is empty.
        ids: the rows.
        force: whether a draft that is there may be replaced.

    Raises:
        UsageError: a draft is there, or no row can be an exemplar.
        ProviderError: the large model cannot be had.
    """
    path = draft_path(config, run_file)
    if path.exists() and not force:
        raise UsageError(
            f'"{path}" exists already; it may hold your edits.',
            f"Go on with `fiat exemplars approve {run_file}`, or replace it with --force.",
        )
    check_writable(path)
    plan = make_plan(config.model_copy(update={"sizes": [1]}))
    rows = _by_id(plan, ids) if ids else choose(plan.task, plan.data.train, count)
    model = create_chat_model(config.large.values_for_provider())
    assert config.store is not None
    found, tally = draft_rationales(plan.task, model, RationaleStore(config.store), rows)
    exemplars = [_exemplar(plan.task, row, found[row.id]) for row in rows]
    header = HEADER.format(
        model=model.identity.model,
        marker=plan.task.reasoning.marker,
        rows=BY_ID if plan.task.id else BY_TEXT,
        run=run_file,
    )
    write_whole(path, draft_yaml(header, exemplars).encode())
    todo = sum("TODO" in exemplar.rationale for exemplar in exemplars)
    return Drafted(path, tuple(rows), tally.calls, todo)


def approve(config: RunConfig, run_file: Path, draft_file: Path | None = None) -> Approved:
    """Check an edited draft and put its exemplars into the task's YAML file.

    Raises:
        UsageError: there is no draft, an exemplar is not ready, or the task is no YAML file.
    """
    path = draft_file or draft_path(config, run_file)
    if not path.is_file():
        raise UsageError(
            f'There is no draft "{path}".', f"Make one with `fiat exemplars draft {run_file}`."
        )
    if not config.task.endswith((".yaml", ".yml")):
        raise UsageError(
            f'The task "{config.task}" is built in; exemplars are put into a file of your own.',
            f"Write a task.yaml with the line `extends: {config.task}`, and name it in the run.",
        )
    task = load_task(config.task)
    exemplars = read_draft(path, task)
    there = [exemplar.fields for exemplar in task.exemplars]
    new = [exemplar for exemplar in exemplars if exemplar.fields not in there]
    if new:
        write_whole(Path(config.task), merged(Path(config.task), new).encode())
    left = len(make_plan(config.model_copy(update={"sizes": [1]})).data.train)
    too_large = tuple(size for size in config.sizes if size != "all" and size > left)
    return Approved(len(new), len(exemplars) - len(new), left, too_large)


def draft_path(config: RunConfig, run_file: Path) -> Path:
    """Where the draft of a run is: beside its task, or beside the run if the task is built in."""
    task = config.task
    return (Path(task) if task.endswith((".yaml", ".yml")) else run_file).parent / NAME


def choose(task: Task, train: Sequence[Example], count: int) -> list[Example]:
    """Rows of different groups, as mixed over targets and languages as they can be.

    Rows whose target the large model could not write on one line after the marker are left out.

    Raises:
        UsageError: there are fewer such rows.
    """
    marker = task.reasoning.marker
    able = [
        row
        for row in nested_subset(train, len(train), 0)
        if row.target and task.parse_answer(f"{marker} {row.target}") == row.target
    ]
    targets, languages, chosen = Counter[str](), Counter[str](), list[Example]()
    while able and len(chosen) < count:
        row = min(able, key=lambda r: (targets[r.target], languages[r.query.language]))
        chosen.append(row)
        targets[row.target] += 1
        languages[row.query.language] += 1
        able = [other for other in able if other.group != row.group]
    if len(chosen) < count:
        raise UsageError(
            f"{count} exemplars were asked for; only {len(chosen)} training rows of different "
            "groups can be some.",
            f"Ask for at most {len(chosen)} with --rows." if chosen else "Write them by hand.",
        )
    return chosen


def _by_id(plan: Plan, ids: Sequence[str]) -> list[Example]:
    rows = {row.id: row for row in plan.data.train}
    for identity in ids:
        if identity not in rows:
            raise UnknownNameError("training row", identity, list(rows)[:20])
    return [rows[identity] for identity in dict.fromkeys(ids)]


def _exemplar(task: Task, row: Example, completion: Completion) -> ExemplarSettings:
    """The row with its draft; where it does not end as it must, or gives no reason, it says so."""
    text = completion.text.strip() if completion.finish == "stop" else ""
    ending = f"{task.reasoning.marker} {row.target}"
    if not text:
        text = f"TODO: write the reasoning; the model wrote none ({completion.finish}).\n{ending}"
    elif task.parse_answer(text) != row.target:
        text += f"\nTODO: the draft does not end as it must. Mend it, and let it end so:\n{ending}"
    elif "\n" not in text:
        text = f"TODO: write the reasoning; the model wrote only its answer.\n{ending}"
    return ExemplarSettings(
        fields=dict(row.query.fields),
        target=row.target,
        rationale=f"{text}\n",
        language=row.query.language,
        held_out={task.id: [row.id]} if task.id else {},
    )
