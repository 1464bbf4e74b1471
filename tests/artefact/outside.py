"""Answer rows as the model cards say, in a process that cannot import fiatkit.

    python outside.py EXPORT ROWS

runs the last Python block of EXPORT/README.md in that folder, calls its `answer` for every line of
ROWS, and prints the answers as JSON. `at_llama` has the code of a GGUF export's card ask llama.cpp.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def code_of(folder: Path) -> str:
    """The last Python block of a card."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    return str(re.findall(r"```python\n(.*?)```", card, re.S)[-1])


def functions(folder: Path) -> dict[str, Any]:
    """What the code of a card defines; it asks nothing yet."""
    names: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(code_of(Path()).rsplit("print(", 1)[0], names)
    return names


@contextlib.contextmanager
def at_llama(folder: Path, file: str) -> Iterator[dict[str, Any]]:
    """The functions of a card, whose requests go to a llama.cpp server that runs `file`."""
    from fiatkit.models.providers.llama_cpp import Settings, Worker

    names = functions(folder)
    worker = Worker(str(folder / file), Settings(model=file, context=1024))
    names["complete"] = lambda body: worker.post("/completion", body)
    try:
        yield names
    finally:
        worker.stop()


def main() -> None:
    """Run the card's code, then ask."""
    sys.modules["fiatkit"] = None  # type: ignore[assignment]
    lines = Path(sys.argv[2]).read_text(encoding="utf-8").splitlines()
    os.chdir(sys.argv[1])
    names: dict[str, Any] = {}
    exec(code_of(Path()), names)
    found = [names["answer"](**json.loads(line)) for line in lines]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
