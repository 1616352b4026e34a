"""Full-text search over transcripts: what a person types, made a query that can only search.

Words all have to be there, in any turn; "words in quotation marks" in this order; `word*` finds
what begins so; `-word` must not be there. Everything else a person types is text: no database's own
query language gets through. In scope: SQLite's FTS5 and PostgreSQL's tsvector, behind one form.
Case never matters; marks on letters (é) do not on SQLite, and do on PostgreSQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from relay.stores.conversation import MAX_BODY_BYTES, Turn, one_line
from relay.stores.schema import CONVERSATIONS, TRANSCRIPTS

MAX_QUERY_CHARS: Final = 512
MAX_TERMS: Final = 16
MAX_HITS: Final = 3
"""Turns that are shown of one conversation."""

SNIPPET_CHARS: Final = 160
_CHARS_BEFORE: Final = 40

_TERM: Final = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+))(\*?)')
_START, _STOP = "\x02", "\x03"  # `one_line` leaves none of them in a text
_HEADLINE: Final = f'HighlightAll=true, StartSel="{_START}", StopSel="{_STOP}"'

_FTS5: Final[sa.ColumnClause[str]] = sa.literal_column("transcripts", sa.Text)
"""The name under which FTS5 knows the table within a query over it."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word or a phrase that is looked for."""

    text: str
    is_prefix: bool = False
    is_excluded: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a snippet."""

    text: str
    is_match: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """A turn in which something was found; `turn` counts those that have words, from 0."""

    turn: int
    speaker: str
    at_s: float | None
    snippet: tuple[Fragment, ...]


def parse(text: str) -> tuple[Term, ...]:
    """Reads what a person typed; words and phrases without a letter or digit are none."""
    found = (_term(match) for match in _TERM.finditer(one_line(text[:MAX_QUERY_CHARS])))
    return tuple(term for term in found if any(map(str.isalnum, term.text)))[:MAX_TERMS]


def _term(match: re.Match[str]) -> Term:
    minus, phrase, word, star = match.groups()
    if word is None:
        return Term(phrase, is_prefix=bool(star), is_excluded=bool(minus))
    return Term(word.rstrip("*"), is_prefix=word.endswith("*"), is_excluded=bool(minus))


# -- what is stored


def body_of(turns: Sequence[Turn]) -> tuple[str, str]:
    """A transcript's body, a turn a line, and its outline. What is over MAX_BODY_BYTES is left
    out, at a turn's end if it can be."""
    lines: list[str] = []
    size = 0
    for turn in turns:
        line = turn.text.encode()
        if size + len(line) > MAX_BODY_BYTES:
            if not lines:
                lines.append(line[:MAX_BODY_BYTES].decode("utf-8", "ignore"))
            break
        lines.append(turn.text)
        size += len(line) + 1
    outline = [[turn.speaker, turn.at_s] for turn in turns[: len(lines)]]
    return "\n".join(lines), json.dumps(outline, separators=(",", ":"))


# -- what is asked


def conditions(terms: Sequence[Term], *, is_sqlite: bool) -> Iterator[sa.ColumnElement[bool]]:
    """What a conversation has to fulfil, for a query over CONVERSATIONS."""
    wanted = [term for term in terms if not term.is_excluded]
    if wanted:
        yield CONVERSATIONS.c.num.in_(_matching(wanted, is_sqlite=is_sqlite))
    for term in terms:
        if term.is_excluded:
            yield CONVERSATIONS.c.num.not_in(_matching([term], is_sqlite=is_sqlite))


def marked(
    terms: Sequence[Term], nums: Sequence[int], *, is_sqlite: bool
) -> sa.Select[int, str, str]:
    """Selects, of those conversations, num, the body with its matches marked, and the outline."""
    wanted = [term for term in terms if not term.is_excluded]
    body: sa.ColumnElement[str]
    rowid: sa.ColumnElement[int] = TRANSCRIPTS.c.rowid
    if is_sqlite:
        # The plus keeps SQLite from looking for the words once per row: slow for `ba*`.
        rowid = sa.literal_column("+transcripts.rowid", sa.BigInteger)
        body = sa.func.highlight(_FTS5, 0, _START, _STOP, type_=sa.Text)
    else:
        # Marks in the whole body, so that its lines can be counted.
        body = sa.func.ts_headline(
            _SIMPLE, TRANSCRIPTS.c.body, to_tsquery(wanted), _HEADLINE, type_=sa.Text
        )
    return (
        sa.select(CONVERSATIONS.c.num, body, CONVERSATIONS.c.outline)
        .join(TRANSCRIPTS, rowid == CONVERSATIONS.c.num)
        .where(_matches(wanted, is_sqlite=is_sqlite), rowid.in_(nums))
    )


def _matching(terms: Sequence[Term], *, is_sqlite: bool) -> sa.Select[int]:
    return sa.select(TRANSCRIPTS.c.rowid).where(_matches(terms, is_sqlite=is_sqlite))


def _matches(terms: Sequence[Term], *, is_sqlite: bool) -> sa.ColumnElement[bool]:
    if is_sqlite:
        return _FTS5.op("MATCH", is_comparison=True)(to_fts5(terms))
    return _WORDS.op("@@", is_comparison=True)(to_tsquery(terms))


def to_fts5(terms: Sequence[Term]) -> str:
    """An FTS5 expression of strings alone. https://sqlite.org/fts5.html#full_text_query_syntax"""
    return " AND ".join(_fts5_string(term) for term in terms)


def _fts5_string(term: Term) -> str:
    quoted = '"' + term.text.replace('"', '""') + '"'
    return quoted + (" *" if term.is_prefix else "")


_SIMPLE: Final[sa.ColumnClause[Any]] = sa.literal_column("'simple'::regconfig")
_WORDS: Final[sa.ColumnClause[Any]] = sa.literal_column("transcripts.words")


def to_tsquery(terms: Sequence[Term]) -> sa.ColumnElement[Any]:
    """A tsquery of parameters alone; only a prefix needs PostgreSQL's own syntax, and is quoted."""
    first, *more = map(_tsquery, terms)
    for query in more:
        first = first.op("&&")(query)
    return first


def _tsquery(term: Term) -> sa.ColumnElement[Any]:
    if not term.is_prefix:
        return sa.func.phraseto_tsquery(_SIMPLE, term.text)
    quoted = term.text.replace("\\", "\\\\").replace("'", "''")
    return sa.func.to_tsquery(_SIMPLE, f"'{quoted}':*")


# -- what is shown


def hits_of(marked_body: str, outline: str) -> tuple[Hit, ...]:
    """The first MAX_HITS turns with a match, of a body whose matches are marked."""
    turns = json.loads(outline)
    hits = []
    for number, fragments in _matching_lines(marked_body):
        if number < len(turns):
            speaker, at_s = turns[number]
            hits.append(Hit(number, speaker, at_s, _shortened(fragments)))
        if len(hits) == MAX_HITS:
            break
    return tuple(hits)


def _matching_lines(marked_body: str) -> Iterator[tuple[int, list[Fragment]]]:
    is_match = False  # a phrase may go on in the next line
    for number, line in enumerate(marked_body.split("\n")):
        fragments = []
        for part in re.split(f"([{_START}{_STOP}])", line):
            if part in (_START, _STOP):
                is_match = part == _START
            elif part:
                fragments.append(Fragment(part, is_match))
        if any(fragment.is_match for fragment in fragments):
            yield number, fragments


def _shortened(fragments: list[Fragment]) -> tuple[Fragment, ...]:
    """Some SNIPPET_CHARS around the first match, cut at words; `…` stands for what is left out."""
    first = next(at for at, fragment in enumerate(fragments) if fragment.is_match)
    before = "".join(fragment.text for fragment in fragments[:first])
    if len(before) > _CHARS_BEFORE:
        before = "…" + before[-_CHARS_BEFORE:].partition(" ")[2]
    shown = [Fragment(before, is_match=False)] if before else []
    room = SNIPPET_CHARS - len(before)
    for fragment in fragments[first:]:
        if len(fragment.text) > room:
            cut = fragment.text[:room]
            shown.append(Fragment((cut.rpartition(" ")[0] or cut) + "…", fragment.is_match))
            break
        shown.append(fragment)
        room -= len(fragment.text)
    return tuple(shown)
