"""Chat templates: scaffolding and content kept apart, so that content is always literal text."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fiatkit.errors import ModelFileError
from fiatkit.records import Message

PLAIN = "{% for message in messages %}{{ message.content }}\n\n{% endfor %}"
MAX_RENDERED = 1024 * 1024


def scaffold(
    template: str,
    messages: Sequence[Message],
    *,
    tokens: Mapping[str, str] | None = None,
    add_generation_prompt: bool = True,
) -> list[tuple[str, bool]]:
    """Render a chat template around contents that it never sees.

    Each content is replaced by a random marker before the template runs, and put back after, so
    that no content can close a turn, open another, or be read as a template.

    Args:
        template: Jinja text, as tokenizers and GGUF files carry it.
        messages: the conversation.
        tokens: `bos_token`, `eos_token` and the like, as the template knows them.
        add_generation_prompt: whether the assistant's turn is opened at the end.

    Returns:
        (text, is_scaffold) pieces in order; empty pieces are left out.

    Raises:
        ModelFileError: the template fails, or drops or repeats a content.
    """
    marker = f"\ue000{secrets.token_hex(8)}"
    marks = [f"{marker}-{number}\ue001" for number in range(len(messages))]
    shown = [{"role": m.role, "content": k} for m, k in zip(messages, marks, strict=True)]
    rest = _render(template, shown, dict(tokens or {}), add_generation_prompt)
    pieces: list[tuple[str, bool]] = []
    for message, mark in zip(messages, marks, strict=True):
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise ModelFileError(
                "The model's chat template drops, repeats or reorders a message "
                f'(role "{message.role}").',
                "Use a model whose template shows each message once.",
            )
        pieces += [(before, True), (message.content, False)]
    pieces.append((rest, True))
    return [piece for piece in pieces if piece[0]]


def _render(
    template: str, messages: list[dict[str, str]], tokens: dict[str, str], generation: bool
) -> str:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise
    try:
        text = environment.from_string(template).render(
            messages=messages, add_generation_prompt=generation, **tokens
        )
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelFileError(f"The model's chat template fails: {error}.") from None
    if len(text) > MAX_RENDERED:
        raise ModelFileError("The model's chat template writes more than 1 MiB of scaffolding.")
    return text


def _raise(message: Any) -> None:
    from jinja2 import TemplateError

    raise TemplateError(str(message))


def token_ids(
    pieces: Sequence[tuple[str, bool]], tokenize: Callable[[str, bool], Sequence[int]]
) -> list[int]:
    """Tokenise pieces one by one; `tokenize(text, special)` reads control tokens if special."""
    ids: list[int] = []
    for text, is_scaffold in pieces:
        ids += tokenize(text, is_scaffold)
    return ids
