"""One of n parts of a run's requests, for several machines without a common disk.

A request belongs to a part by its key, so the parts do not depend on the order of the rows, and
equal requests fall into the same one. Each part has a store of its own; `merge` brings them home.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fiatkit.errors import SettingsError
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.rationales import rationale_request
from fiatkit.reasoning.reasoner import Reasoner
from fiatkit.reasoning.store import RationaleStore
from fiatkit.records import Query


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "2/8".

        Raises:
            SettingsError: it is no such text.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise SettingsError(
                f'--shard: "{text}" is no part of a whole.', "Write 1/4, 2/4, 3/4 and 4/4."
            )
        return cls(int(found[1]), int(found[2]))

    def holds(self, key: str) -> bool:
        """Whether the request of this key is in this part."""
        return int(key[:16], 16) % self.of == self.number - 1

    def store(self, path: Path) -> Path:
        """Where this part's answers go, beside the store at `path`."""
        return path.with_name(f"{path.stem}.shard-{self.number}-of-{self.of}{path.suffix}")

    def queries(self, reasoner: Reasoner, queries: Iterable[Query], whole: Path) -> Iterator[Query]:
        """Those of the queries that are this part's, less those that the store `whole` answers."""
        identity = reasoner.model.identity
        known = RationaleStore.read_only(whole) if RationaleStore.is_begun(whole) else None
        try:
            for query in queries:
                key = completion_key(identity, rationale_request(reasoner.task, query))
                if self.holds(key) and (known is None or known.get(key) is None):
                    yield query
        finally:
            if known:
                known.close()
