"""A fault, a run that meets it, and the checker behind it, as one call."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import child
from tests.faults.fakeserver import KEY, FakeServer, Script, well
from tests.faults.invariants import Case, check, right

Meet = Callable[..., Case]


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that must stand nowhere."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def meet(tmp_path: Path) -> Meet:
    """Run rows against a server with a script, then check every invariant.

    Rows in `failing` end in the state given there and are left out of the comparison with a run
    without faults; `code` is the exit code expected; a run that stops is not `finished`. `changed`
    are other fields of the case. What is left are options of the run.
    """

    def run(
        script: Script = well,
        rows: int = 6,
        *,
        failing: dict[str, str] | None = None,
        code: int = 0,
        store: str = "store.sqlite",
        changed: dict[str, Any] | None = None,
        **options: Any,
    ) -> Case:
        path = tmp_path / store
        failing = failing or {}
        with FakeServer(script) as server:
            outcome = child.here(server.url, path, rows, **options)
            queries = child.queries(rows)
            if texts := options.get("texts"):
                queries = [
                    replace(query, fields={"text": text})
                    for query, text in zip(queries, texts, strict=True)
                ]
            keys = child.keys(server.url, queries)
        texts_expected = {} if code else right(keys)
        case = Case(
            server,
            path,
            keys,
            outcome,
            code=code,
            texts={name: text for name, text in texts_expected.items() if name not in failing},
            finished=not code,
        )
        case = replace(case, **(changed or {}))
        check(case)
        for identity, state in outcome.states.items():
            assert state == failing.get(identity, state if code else "ok"), (identity, state)
        return case

    return run
