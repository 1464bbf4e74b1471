"""Looks at the columns of a file and guesses what each is for. Guesses only; the user decides."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fiatkit.data import Row
from fiatkit.tasks.answers import as_text, is_blank

MOST_LABELS = 30
PROSE = 3.0  # mean words of a column that a model would read
SHARED = 0.05  # share of the rows from which on shared texts matter
PASSAGE = 15.0  # mean words of a column on which several rows may hang
LANGUAGE_NAMES = {"language", "lang", "lang_code", "language_code", "locale", "sprache", "idioma"}
TARGETS = """
label labels target gold category class topic intent sentiment queue rating stars score tags
entities preferred answer answers output summary headline translation y
"""
FIELDS = """
text review message question context passage premise hypothesis sentence title body prompt
response document content query claim comment tweet
"""
ISO_639_1 = """
aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da
de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz
ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln
lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi
pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti
tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
TARGET_NAMES = TARGETS.split()  # the likeliest first
FIELD_NAMES = set(FIELDS.split())
LANGUAGE_CODES = set(ISO_639_1.split())
GROUP_NAME = re.compile(
    r"(^|_)(id|group|parallel|passage|context|document|doc|thread|article|user|author|session"
    r"|situation|family)$",
    re.IGNORECASE,
)
ID_NAME = re.compile(r"(^|_)(id|uid|uuid|nr|no|number|index|key)$", re.IGNORECASE)
CODE = re.compile(r"([a-z]{2,3})([-_][A-Z][a-z]{3})?([-_]([A-Za-z]{2}|\d{3}))?")


@dataclass(frozen=True)
class Column:
    """One column: its name, and what stands in each row (None where nothing does)."""

    name: str
    values: tuple[object, ...]

    @cached_property
    def texts(self) -> tuple[str | None, ...]:
        """The values as text; None where there is none, or a list or an object."""
        found = (as_text(value) for value in self.values)
        return tuple(None if problem else text for text, problem in found)

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each text stands there."""
        return Counter(text for text in self.texts if text is not None)

    @property
    def is_text(self) -> bool:
        """Whether it holds text or numbers in every row that holds anything."""
        held = sum(value is not None for value in self.values)
        return 0 < self.counts.total() == held

    @property
    def is_list(self) -> bool:
        """Whether it holds lists."""
        held = [value for value in self.values if value is not None]
        return bool(held) and all(isinstance(value, list) for value in held)

    @property
    def is_full(self) -> bool:
        """Whether every row has a text."""
        return self.counts.total() == len(self.values)

    @property
    def words(self) -> float:
        """Mean number of words of a text."""
        total = sum(words_in(text) * count for text, count in self.counts.items())
        return total / max(1, self.counts.total())

    @property
    def has_few_values(self) -> bool:
        """Whether its texts are few and short, and come again and again: labels, or the like."""
        kinds, total = len(self.counts), self.counts.total()
        short = all(len(text) <= 60 for text in self.counts)
        return 2 <= kinds <= MOST_LABELS and total >= 3 * kinds and short


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The columns of all rows, in the order in which they first come."""
    names = dict.fromkeys(str(name) for row in rows for name in row.values)
    usable = (name for name in names if name.strip() and "|" not in name)
    return [Column(name, tuple(_held(row.values.get(name)) for row in rows)) for name in usable]


def guess_target(columns: Sequence[Column]) -> Column | None:
    """The column with the answer: by its name; else the last with few values; else the last."""
    able = [column for column in columns if column.is_text or column.is_list]
    by_name = {column.name.casefold(): column for column in reversed(able)}
    named = next((by_name[name] for name in TARGET_NAMES if name in by_name), None)
    return named or next(iter([*reversed(able_targets(able)), *reversed(able)]), None)


def able_targets(columns: Sequence[Column]) -> list[Column]:
    """The columns of few values, of which any may hold the answers."""
    able = [column for column in columns if column.is_text or column.is_list]
    return [column for column in able if column.has_few_values and column != guess_language(able)]


def guess_language(columns: Sequence[Column]) -> Column | None:
    """The column of the rows' languages: by its name, or since all its values are codes."""
    able = [column for column in columns if column.is_text and column.is_full]
    for column in able:
        if column.name.casefold() in LANGUAGE_NAMES and len(column.counts) < len(column.values):
            return column
    for column in able:
        found = [CODE.fullmatch(text) for text in column.counts]
        if len(found) > 1 and all(match and match[1] in LANGUAGE_CODES for match in found):
            return column
    return None


def guess_id(columns: Sequence[Column]) -> Column | None:
    """The column that names each row: all different, without blanks; named so, or with digits."""
    able = [column for column in columns if _differs(column)]
    named = (column for column in able if ID_NAME.search(column.name))
    coded = (c for c in able if all(re.search(r"\d", text) for text in c.counts))
    return next(named, next(coded, None))


def guess_group(columns: Sequence[Column], language: Column | None) -> tuple[Column, str] | None:
    """The column whose equal values mean "belongs together", and why it is thought to be so."""
    able = [column for column in columns if _repeats(column)]
    for column in able:
        if language and _crosses(column, language):
            return column, "its values come once in each of several languages"
    for column in able:
        if column.words >= PASSAGE:
            return column, "several rows share one passage"
    for column in able:
        if GROUP_NAME.search(column.name):
            return column, "by its name, and its values come again"
    return None


def shared_field(fields: Sequence[Column]) -> tuple[Column, str] | None:
    """Of several fields, the one whose text most rows share with another row, if many do; and why.

    A row whose one half is known from training is easier than it looks.
    """
    able = [c for c in fields if c.words >= PROSE and 4 * max(c.counts.values()) <= len(c.values)]
    shares = {c.name: sum(n for n in c.counts.values() if n > 1) for c in able}
    column = max(able, key=lambda c: shares[c.name], default=None)
    if column is None or len(fields) < 2 or shares[column.name] < SHARED * len(column.values):
        return None
    return column, f"{shares[column.name]} of {len(column.values)} rows share its text with another"


def guess_fields(able: Sequence[Column]) -> list[Column]:
    """Those of the `able` columns that a model should read: prose, or named so."""
    prose = [c for c in able if c.words >= PROSE or c.name.casefold() in FIELD_NAMES]
    return prose or sorted(able, key=lambda column: -column.words)[:1]


def _held(value: object) -> object:
    return None if is_blank(value) else value


def words_in(text: str) -> float:
    """Number of words; two characters of a script without blanks are a word."""
    wide = sum(1 for character in text if character > "\u2e7f")
    return max(len(text.split()), wide / 2)


def _differs(column: Column) -> bool:
    short = all(len(text) <= 64 and not re.search(r"\s", text) for text in column.counts)
    return column.is_text and column.is_full and len(column.counts) == len(column.values) and short


def _repeats(column: Column) -> bool:
    """Many values, many of them more than once, none in more than a quarter of the rows."""
    total, kinds = column.counts.total(), len(column.counts)
    if not column.is_text or kinds < 6 or total < 1.2 * kinds:
        return False
    return max(column.counts.values()) <= total / 4


def _crosses(column: Column, language: Column) -> bool:
    found: dict[str, list[str | None]] = defaultdict(list)
    for text, code in zip(column.texts, language.texts, strict=True):
        if text is not None:
            found[text].append(code)
    again = [codes for codes in found.values() if len(codes) > 1]
    return sum(len(set(codes)) == len(codes) for codes in again) >= 0.9 * len(again)
