"""Answer rows as the model cards say, in a process that cannot import fiatkit.

    python outside.py EXPORT ROWS

runs the last Python block of EXPORT/README.md in that folder, calls its `answer` for every line of
ROWS, and prints the answers as JSON.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any


def code_of(folder: Path) -> str:
    """The last Python block of a card."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    return str(re.findall(r"```python\n(.*?)```", card, re.S)[-1])


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
