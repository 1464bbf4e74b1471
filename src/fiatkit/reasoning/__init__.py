"""Queries in, rationales out: asked once, committed before use, never asked again."""

from fiatkit.reasoning.drafts import draft_rationales, draft_request
from fiatkit.reasoning.key import completion_key
from fiatkit.reasoning.ledger import Spent
from fiatkit.reasoning.rationales import rationale_request, stored_rationales
from fiatkit.reasoning.reasoner import Reasoner, Standing
from fiatkit.reasoning.salvage import recover
from fiatkit.reasoning.shards import Shard
from fiatkit.reasoning.store import RationaleStore

__all__ = [
    "RationaleStore",
    "Reasoner",
    "Shard",
    "Spent",
    "Standing",
    "completion_key",
    "draft_rationales",
    "draft_request",
    "rationale_request",
    "recover",
    "stored_rationales",
]
