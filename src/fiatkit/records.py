"""The frozen records that pass between rooms; this module imports nothing of fiatkit.

A `Query` has no target. The reasoner and the predictor take queries, never examples, so the
paper's rule that the large model never sees the item's own target is checked by the type checker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "refused", "empty", "error"]


@dataclass(frozen=True, slots=True)
class Query:
    """One input: its id, the fields that the task names, in the task's order, and its language."""

    id: str
    fields: Mapping[str, str]
    language: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its target. `references` holds every accepted answer, the target first.

    Rows of one `group` translate one another or share a passage; a group never crosses splits.
    """

    query: Query
    target: str
    references: tuple[str, ...]
    group: str

    @property
    def id(self) -> str:
        """The query's id."""
        return self.query.id


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An example with a written rationale, shown to the large model; held out of training."""

    query: Query
    target: str
    rationale: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation with a chat model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the large model writes. Temperature 0 is greedy, as in the paper (footnote 4)."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What decides a large model's answers, as far as it is known: part of every store key.

    `endpoint` is the base URL, or the name that the user gives it; for a local file `revision` is
    the sha256 of the weights.
    """

    provider: str
    endpoint: str
    model: str
    revision: str


@dataclass(frozen=True, slots=True)
class Request:
    """One call to the large model. `choices`, when given, are the only answers it may write."""

    messages: tuple[Message, ...]
    sampling: Sampling
    choices: tuple[str, ...] = ()
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call or of many. None means that the provider did not say.

    Cached tokens are among the prompt's, reasoning tokens among the completion's. Of the prompt's,
    `written_tokens` were put into the provider's cache, which Anthropic charges extra, and
    `written_1h_tokens` of these for an hour; the store keeps what that cost, not these counts.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    written_tokens: int | None = None
    written_1h_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back from a large model for one request. Only `finish == "stop"` is good.

    `reasoning` is the hidden reasoning of a reasoning model, kept apart from the text; its tokens
    are among the completion's. `logprobs` are the written tokens with their natural
    log-probabilities, where the provider gives them. `cost` is what the store knows the answer to
    have cost when it was made, in US dollars.
    """

    text: str
    finish: Finish
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    seconds: float = 0.0
    detail: str = ""
    reasoning: str = ""
    logprobs: tuple[tuple[str, float], ...] = ()
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What an endpoint says of one of its limits. None means that it does not say.

    `limit` is how much there is when whole, `left` how much is now, `reset` the seconds until it
    is whole again.
    """

    limit: float | None = None
    left: float | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an endpoint last said of its limits on requests and on tokens."""

    requests: RateLimit = field(default_factory=RateLimit)
    tokens: RateLimit = field(default_factory=RateLimit)


@dataclass(frozen=True, slots=True)
class Rationale:
    """All the text that the large model wrote for a query, and the answer parsed from it.

    `status` is "ok" or "failed:<reason>"; `answer` is None where no answer could be parsed.
    `key` is the store's key of the request.
    """

    query_id: str
    text: str
    answer: str | None
    status: str
    key: str
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Prediction:
    """A recipe's answer to one query.

    `status` is "ok", "failed:<reason>" or "skipped:<reason>"; `answer` is None unless "ok".
    `probabilities` maps each label to its probability, for tasks with a label set scored by the
    small model. `text` is the answer as written, before parsing. `fallback` is empty, or says why
    the answer was given without a rationale, as "rationale_truncated". `cut` tokens of a field
    were left out, as `truncate` allows, and `rationale_cut` tokens of the rationale. `rationale` is
    what the small model read, where a tuned model answers new rows; of a comparison, the store
    has it.
    """

    query_id: str
    answer: str | None
    status: str = "ok"
    probabilities: Mapping[str, float] | None = None
    text: str = ""
    fallback: str = ""
    cut: int = 0
    rationale_cut: int = 0
    rationale: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """One metric on one set of rows, 0 to 100, with a 95 % interval clustered by group.

    `value` is the unweighted mean over languages where the rows have languages (`languages` holds
    them), else the score over all rows; `micro` is always the score over all rows. None means
    undefined, never zero. `n` counts rows, `groups` distinct groups.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    micro: float | None
    n: int
    groups: int
    languages: Mapping[str, float | None] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    detail: Mapping[str, Any] = field(default_factory=dict)


PartKind = Literal["instruction", "query", "rationale", "cue"]


Side = Literal["head", "tail", "middle"]


@dataclass(frozen=True, slots=True)
class Cut:
    """The characters of a part that may be left out if a prompt is too long, and from where."""

    begin: int
    end: int
    side: Side


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the small model's prompt. Parts are tokenised apart, as literal text.

    `cut` is there only if the user allowed that a field be cut.
    """

    kind: PartKind
    text: str
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class SmallPrompt:
    """What the small model reads for one query, before the scaffolding of its chat template.

    The rendered text is the parts joined without anything between them. When the prompt is too
    long for the model, a part of kind "rationale" is cut, then what a part's `cut` says.
    """

    query_id: str
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The whole prompt as text."""
        return "".join(part.text for part in self.parts)

    def part(self, kind: PartKind) -> Part | None:
        """The first part of a kind, if there is one."""
        return next((part for part in self.parts if part.kind == kind), None)


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """One row of tuning data: the small model's prompt and the target it must write.

    `before` is what it must write before the target, where it reasons itself.
    """

    prompt: SmallPrompt
    target: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A test row beside a recipe's prediction: what every metric and the report read."""

    example: Example
    prediction: Prediction
