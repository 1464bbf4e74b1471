"""The child process that renders a chat template: foreign text, so bounded in time and memory.

Started by _chat.py by its path, so that it imports Jinja and nothing of fiatkit. Reads JSON from
standard input and writes JSON: `text`, or `error`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import resource
import sys
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 2
MEMORY = 1024 * 1024 * 1024
MAX_RENDERED = 1024 * 1024
DAY = datetime.datetime(2024, 7, 26)  # a prompt must not depend on the day it is made


class Generation(Extension):
    """The tag that marks assistant text in some templates; here it marks nothing."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Keep the body, drop the tag."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def render(template: str, messages: list[Any], tokens: dict[str, str], generation: bool) -> str:
    """Render as transformers does, in a sandbox. Raises ValueError if too much is written."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = DAY.strftime
    environment.filters["tojson"] = _tojson
    pieces = environment.from_string(template).generate(
        messages=messages, add_generation_prompt=generation, **tokens
    )
    text = ""
    for piece in pieces:
        text += piece
        if len(text) > MAX_RENDERED:
            raise ValueError("it writes more than 1 MiB of scaffolding")
    return text


def _raise(message: Any) -> None:
    raise TemplateError(str(message))


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def main() -> None:
    """Bound this process, then render what standard input asks for."""
    for what, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, MEMORY)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))
    try:
        answer = {"text": render(**json.loads(sys.stdin.read()))}
    except MemoryError:
        answer = {"error": "it takes too much memory"}
    except RecursionError:
        answer = {"error": "it calls itself without end"}
    except Exception as error:
        answer = {"error": f"{error}"[:300] or type(error).__name__}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
