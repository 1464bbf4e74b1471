"""Chat templates: scaffolding and content kept apart, so that content is always literal text."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from fiatkit.errors import ModelFileError
from fiatkit.records import Message

PLAIN = "{% for message in messages %}{{ message.content }}\n\n{% endfor %}"
RENDERER = Path(__file__).with_name("_render.py")
WALL_SECONDS = 60  # the child bounds its own CPU time to 2 s; this is for a stalled machine


def template_of(tokenizer: Any) -> str | None:
    """A tokenizer's chat template; of several, the one named "default". None: it has none."""
    found = getattr(tokenizer, "chat_template", None)
    found = found.get("default") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def tokens_of(tokenizer: Any) -> dict[str, str]:
    """The tokens that a chat template may name."""
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    return {name: str(getattr(tokenizer, name, None) or "") for name in names}


def scaffold(
    template: str,
    messages: Sequence[Message],
    *,
    tokens: Mapping[str, str] | None = None,
    add_generation_prompt: bool = True,
) -> list[tuple[str, bool]]:
    """Render a chat template around contents that it never sees.

    A random marker stands for each content while the template runs, so that no content can close
    a turn, open another, or be read as a template. The scaffolding depends on the roles alone: it
    is rendered once for each order of roles, in a child process with bounded time and memory.
    Where a template refuses the role "system" (Gemma's), that text begins the first user's.

    Args:
        template: Jinja text, as tokenizers and GGUF files carry it.
        messages: the conversation.
        tokens: `bos_token`, `eos_token` and the like, as the template knows them.
        add_generation_prompt: whether the assistant's turn is opened at the end.

    Returns:
        (text, is_scaffold) pieces in order; empty pieces are left out.

    Raises:
        ModelFileError: the template fails, runs wild, or drops or repeats a content.
    """
    roles = tuple(message.role for message in messages)
    known = tuple(sorted((tokens or {}).items()))
    frame = _frame(template, roles, known, add_generation_prompt)
    if isinstance(frame, ModelFileError):
        if roles[:2] != ("system", "user"):
            raise ModelFileError(frame.message, frame.hint)
        both = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
        rest = [both, *messages[2:]]
        return scaffold(template, rest, tokens=tokens, add_generation_prompt=add_generation_prompt)
    pieces: list[tuple[str, bool]] = []
    for before, message in zip(frame, messages, strict=False):
        pieces += [(before, True), (message.content, False)]
    pieces.append((frame[-1], True))
    return [piece for piece in pieces if piece[0]]


@lru_cache(maxsize=64)
def _frame(
    template: str, roles: tuple[str, ...], tokens: tuple[tuple[str, str], ...], generation: bool
) -> tuple[str, ...] | ModelFileError:
    """The scaffolding before each content, and after the last; or why there is none."""
    marker = f"\ue000{secrets.token_hex(8)}"
    marks = [f"{marker}-{number}\ue001" for number in range(len(roles))]
    shown = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    try:
        rest = _render(template, shown, dict(tokens), generation)
    except ModelFileError as error:
        return error
    frame = []
    for role, mark in zip(roles, marks, strict=True):
        before, found, rest = rest.partition(mark)
        if not found or marker in before or mark in rest:
            return ModelFileError(
                f'The model\'s chat template drops, repeats or reorders a message (role "{role}").',
                "Use a model whose template shows each message once.",
            )
        frame.append(before)
    return (*frame, rest)


def _render(
    template: str, messages: list[dict[str, str]], tokens: dict[str, str], generation: bool
) -> str:
    asked: dict[str, Any] = {"template": template, "messages": messages, "tokens": tokens}
    # No keys of the environment: only what Python needs to start.
    needed = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(RENDERER)],
            input=json.dumps(asked | {"generation": generation}),
            capture_output=True,
            text=True,
            timeout=WALL_SECONDS,
            env={name: os.environ[name] for name in needed if name in os.environ},
        )
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        answer = {"error": "it takes more than 2 s, or too much memory"}
    if "text" not in answer:
        digest = hashlib.sha256(template.encode(errors="replace")).hexdigest()[:12]
        raise ModelFileError(
            f"The model's chat template (sha256 {digest}...) fails: {answer['error']}."
        )
    return str(answer["text"])


def token_ids(
    pieces: Sequence[tuple[str, bool]], tokenize: Callable[[str, bool], Sequence[int]]
) -> list[int]:
    """Tokenise pieces one by one; `tokenize(text, special)` reads control tokens if special."""
    ids: list[int] = []
    for text, is_scaffold in pieces:
        ids += tokenize(text, is_scaffold)
    return ids
