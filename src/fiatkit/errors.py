"""Every error of fiatkit. A user's mistake is told in a sentence with a hint, without a traceback.

FiatError                     exit 1   something is wrong inside
├── UsageError                exit 2   the user's input, settings or files
│   ├── SettingsError                  a YAML file or a flag
│   ├── DataError                      a row: file, line, field, value, what is allowed
│   ├── UnknownNameError               no such task, model, recipe ...; suggests the nearest
│   ├── ModelFileError                 weights missing, tampered with, or of a wrong kind
│   ├── ArtefactError                  an artefact that is corrupt, newer, or does not fit
│   ├── CheckpointError                a checkpoint of another tuning; lists what differs
│   └── StoreCorruptError              a store that is damaged or newer
├── BudgetError               exit 3   done, but too many rows failed
│   └── NoBetterError                  a tuned model is no better than the baseline
├── EnvironmentProblem        exit 4   disk, permission, lock, a missing package
│   ├── StoreLockedError
│   ├── MissingExtraError              an optional package is not installed
│   └── NonFiniteLossError             training diverged; names the rows
└── ProviderError             exit 5   the large model's side; `retryable`, `ambiguous`
    ├── TransientProviderError         worth another try
    ├── RowProviderError               this row can never succeed; others may
    ├── FatalProviderError             key, quota, unknown model: no row can succeed
    └── CapReachedError                max_cost, max_calls or max_wait: stopped as was asked for

Exit codes are those of INV10 in docs/reliability.md.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable

_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)
_SHORTEST = 6  # characters of a variable's value that may be a secret
_USERINFO = re.compile(r"(?<=://)[^/\s@]*@")
KEPT = "Stopped. All finished work is kept; run the same command again to go on."


class Stopped(BaseException):
    """A signal asked the process to end; carries its number, and what the user is told then.

    The exit code is 128 + number.
    """

    def __init__(self, number: int, told: str = KEPT) -> None:
        super().__init__(number)
        self.number = number
        self.told = told


class FiatError(Exception):
    """An error with a message for the user and, where there is one, a hint what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(FiatError):
    """Something that the user gave is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A settings file or a flag is wrong."""


class DataError(UsageError):
    """A row of the user's data is wrong."""


class ModelFileError(UsageError):
    """Model weights are missing, were tampered with, or are of a kind that cannot be used."""


class ArtefactError(UsageError):
    """An artefact is corrupt, newer than this release, or does not fit what it is used with."""


class CheckpointError(UsageError):
    """A checkpoint is of other data, settings, base model or packages than the tuning at hand."""


class StoreCorruptError(UsageError):
    """The rationale store is damaged, or was written by a newer release."""


class UnknownNameError(UsageError):
    """A name that does not exist; the message lists what does, and suggests the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            f'There is no {kind} "{name}". Known: {", ".join(names) or "none"}.',
            did_you_mean(name, names),
        )

    @property
    def one_line(self) -> str:
        """Message and hint as one line, for a list of problems."""
        return f"{self.message} {self.hint}".strip()


class BudgetError(FiatError):
    """The work is done, but more rows failed than is tolerated."""

    exit_code = 3


class NoBetterError(BudgetError):
    """The work is done, but a tuned model is no better than the baseline, and had to be."""


class EnvironmentProblem(FiatError):
    """The machine stands in the way: disk, permissions, locks, missing packages."""

    exit_code = 4


class StoreLockedError(EnvironmentProblem):
    """Another process holds the store."""


class MissingExtraError(EnvironmentProblem):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(
            f'{what} needs the package "{package}", which is not installed.',
            f'Install it with: pip install "fiatkit[{extra}]"',
        )


class NonFiniteLossError(EnvironmentProblem):
    """The training loss or a gradient is NaN or infinite; the step was not taken."""


class ProviderError(FiatError):
    """The large model's side failed. `ambiguous`: the call may have been carried out and billed."""

    exit_code = 5
    retryable = False

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        reason: str = "error",
        ambiguous: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.reason = reason
        self.ambiguous = ambiguous
        self.retry_after = retry_after


class TransientProviderError(ProviderError):
    """Worth another try after a pause."""

    retryable = True


class RowProviderError(ProviderError):
    """This request can never succeed; other rows may."""


class FatalProviderError(ProviderError):
    """No request can succeed until the user does something."""


class CapReachedError(ProviderError):
    """The run was stopped at a limit that the user set; everything that was paid for is kept."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name nearest to this one, or an empty string if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return near[0] if near else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return 'Did you mean "x"?' for the nearest known name, or an empty string."""
    near = nearest(name, known)
    return f'Did you mean "{near}"?' if near else ""


def redacted(text: str) -> str:
    """Text without user names and passwords in URLs."""
    return _USERINFO.sub("", text)


def without_secrets(text: str) -> str:
    """Text without passwords in addresses and without the values of secret variables."""
    named = (v for name, v in os.environ.items() if _SECRET.search(name) and len(v) >= _SHORTEST)
    for value in sorted(named, key=len, reverse=True):
        text = text.replace(value, "***")
    return redacted(text)
