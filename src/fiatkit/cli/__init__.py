"""The command `fiat`: one file a command. Heavy libraries load only when a command runs."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import types
from typing import Any

LONGEST_CAUSE = 400


def main() -> None:
    """Run `fiat` and exit with the documented code (INV10), without a traceback for a mistake."""
    from fiatkit.cli._app import app

    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    run_as_command(app, debug=debug)


def run_as_command(app: Any, *, debug: bool) -> None:
    """Run `app` by the rules of the command line for signals, errors and exit codes; then exit."""
    signal.signal(signal.SIGTERM, _stop)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _stop)
    sys.exit(_run(app, debug))


def _stop(number: int, frame: types.FrameType | None) -> None:
    from fiatkit.errors import Stopped

    raise Stopped(number)


def _run(app: Any, debug: bool) -> int:
    import typer

    from fiatkit.errors import KEPT, FiatError, Stopped

    told = KEPT
    try:
        code = _called(app)
        sys.stdout.flush()
    except FiatError as error:
        _tell(_trace() if debug else _harmless(f"Error: {error}"))
        return error.exit_code
    except typer.TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Stopped as stopped:
        code, told = 128 + stopped.number, stopped.told
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    except Exception as error:
        if debug:
            _tell(_trace())
            return 1
        _unexpected(error)
        return 1
    if code == 128 + signal.SIGPIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif code > 128:
        _tell(told)
    return code


def _called(app: Any) -> int:
    """Run the command; of several processes that torchrun started together, in the first."""
    if "RANK" not in os.environ:
        return int(app(prog_name="fiat", standalone_mode=False) or 0)
    from fiatkit.tuning.together import leading

    with leading() as leads:
        return int(app(prog_name="fiat", standalone_mode=False) or 0) if leads else 0


def _unexpected(error: Exception) -> None:
    """Say in one line what went wrong, where the details are, and how to go on."""
    from fiatkit.errors import without_secrets
    from fiatkit.report.text import one_line

    cause = one_line(f"{type(error).__name__}: {error}")
    _tell(without_secrets(f"Internal error: {cause[:LONGEST_CAUSE]}"))
    kept = _logged(_trace())
    if kept:
        _tell(f"Details, without passwords and keys: {kept} (please report it)")
    command = without_secrets(shlex.join(["fiat", *sys.argv[1:]]))
    _tell(f"What was finished is kept; the same command goes on from there: {command}")


def _logged(trace: str) -> str:
    """The path of a new file, readable by its owner only, with the details; empty if none."""
    import tempfile

    from fiatkit._version import __version__

    try:
        handle, path = tempfile.mkstemp(prefix="fiatkit-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"fiatkit {__version__}, Python {sys.version}\n{trace}")
    except OSError:
        return ""
    return path


def _trace() -> str:
    """The traceback of the error at hand, fit to be sent to somebody."""
    import traceback

    from fiatkit.errors import without_secrets

    return without_secrets(traceback.format_exc())


def _harmless(text: str) -> str:
    """Text with what would command a terminal made visible, such as in a server's own words."""
    from fiatkit.visible import plain

    return plain(text)


def _usage(error: Any) -> int:
    """Show a mistake in the command line the way typer shows it."""
    from typer.rich_utils import rich_format_error

    rich_format_error(error)
    return int(error.exit_code)


def _tell(message: str) -> None:
    sys.stderr.write(f"{message}\n")
