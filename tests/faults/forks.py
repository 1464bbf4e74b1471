"""Runs of the child, each forked from one process that has imported all that they need.

Starting Python and importing takes longer than the job of 20 rows that the sweep kills hundreds
of times. `python -m tests.faults.forks` reads a run's arguments, a line of JSON each, forks, stops
the fork so that a tracer can be attached, and says its number; later, how it ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from tests.faults import child


class Forks:
    """The process, from outside. Use it as a context manager."""

    def __enter__(self) -> Forks:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"],
            cwd=child.ROOT,
            env=child.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(120)

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        tracer: Sequence[str] = (),
        during: Callable[[int], object] = lambda number: None,
    ) -> child.Outcome:
        """Run a child's command line (`child.command`), perhaps under a tracer, to its end.

        Args:
            words: the command line.
            folder: for its output.
            tracer: words of a command that attaches itself to the process whose number follows.
            during: called with the process's number while it runs.
        """
        assert self._process.stdin
        assert self._process.stdout
        out, err = folder / "stdout", folder / "stderr"
        arguments = words[words.index("tests.faults.child") + 1 :]
        said = json.dumps({"arguments": list(arguments), "out": str(out), "err": str(err)})
        self._process.stdin.write(said + "\n")
        self._process.stdin.flush()
        number = int(self._process.stdout.readline())
        attached = None
        if tracer:
            attached = subprocess.Popen([*tracer, str(number)], stderr=subprocess.PIPE, text=True)
            assert attached.stderr
            assert "attached" in attached.stderr.readline()
        os.kill(number, signal.SIGCONT)
        during(number)
        code = int(self._process.stdout.readline())
        if attached:
            attached.communicate()
        return child.read(code, out.read_text(), err.read_text())


def _fork(arguments: Sequence[str], out: str, err: str) -> int:
    number = os.fork()
    if number:
        return number
    for path, handle in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), handle)
    sys.argv = ["child", *arguments]
    os.kill(os.getpid(), signal.SIGSTOP)
    code = 1
    try:
        child.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    import openai

    openai.AsyncOpenAI(api_key="none").chat.completions  # noqa: B018
    for line in sys.stdin:
        asked = json.loads(line)
        number = _fork(asked["arguments"], asked["out"], asked["err"])
        os.waitpid(number, os.WUNTRACED)
        print(number, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
