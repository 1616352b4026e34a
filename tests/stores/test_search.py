"""Search in transcripts: what people type, what is found, what is shown, on both databases."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.stores.conversation import MAX_BODY_BYTES, Turn, one_line
from relay.stores.index import Index
from relay.stores.query import Query
from relay.stores.search import (
    MAX_HITS,
    MAX_TERMS,
    SNIPPET_CHARS,
    Fragment,
    Hit,
    Term,
    body_of,
    hits_of,
    parse,
    to_fts5,
)
from tests.stores.conversations import entry

CALL = (
    "Hello, I would like to change my flight to Lisbon.",
    "Of course. What is your booking reference?",
    "It's Q7R-88X, and the name is O'Brien.",
    "Thank you. The change fee is forty euros; shall I go on?",
)


async def found(index: Index, q: str) -> list[str]:
    page = await index.search(Query(q=q))
    return [conversation.id for conversation in page.conversations]


# -- what a person types


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("flight lisbon", [Term("flight"), Term("lisbon")]),
        ('"change my flight" fee', [Term("change my flight"), Term("fee")]),
        ("book*", [Term("book", is_prefix=True)]),
        ('"change f"*', [Term("change f", is_prefix=True)]),
        ("flight -lisbon", [Term("flight"), Term("lisbon", is_excluded=True)]),
        ('-"my flight"', [Term("my flight", is_excluded=True)]),
        ('"never closed', [Term("never closed")]),
        ("Q7R-88X", [Term("Q7R-88X")]),
        ('- * "" \' () !!', []),
        ("", []),
        (
            "AND OR NOT NEAR(a b)",
            [Term("AND"), Term("OR"), Term("NOT"), Term("NEAR(a"), Term("b)")],
        ),
    ],
)
def test_query_when_parsed_has_the_terms_that_were_typed(text: str, terms: list[Term]) -> None:
    assert parse(text) == tuple(terms)


def test_query_when_it_is_endless_is_cut() -> None:
    assert len(parse("word " * 1000)) == MAX_TERMS
    assert len(parse("x" * 100_000)[0].text) <= 512


@given(st.text(max_size=80))
@example('"; DROP TABLE transcripts; --')
@example('body:x NEAR("a" "b", 2) ^c {a b}: -"*')
@example("\ud800 \x00 \x02mark\x03")
def test_query_of_any_text_is_one_that_fts5_takes(text: str) -> None:
    terms = parse(text)
    with_table = sqlite3.connect(":memory:")
    try:
        with_table.execute("CREATE VIRTUAL TABLE t USING fts5(body)")
        with_table.execute("INSERT INTO t VALUES ('one two')")

        if terms:
            with_table.execute("SELECT * FROM t WHERE t MATCH ?", (to_fts5(terms),)).fetchall()
    finally:
        with_table.close()


# -- what is found


@pytest.mark.parametrize(
    "q",
    [
        "flight", "FLIGHT", "flight euros", '"change my flight"', "lis*", "fligh* refer*",
        '"change my fl"*', "Q7R-88X", "O'Brien", "flight -paris", "lisbon.", '"flight to lisbon',
        "flight & | ! ( ) :* <-> \\",
    ],
)  # fmt: skip
async def test_search_when_all_terms_were_said_finds_the_conversation(index: Index, q: str) -> None:
    await index.put([entry("rtc_1", *CALL), entry("rtc_2", "Something else.", minutes=1)])

    assert await found(index, q) == ["rtc_1"]


@pytest.mark.parametrize(
    "q", ["fligh", "flight paris", '"flight my change"', "flight -lisbon", "par*", "!!!", '""', "*"]
)
async def test_search_when_a_term_was_not_said_finds_nothing(index: Index, q: str) -> None:
    await index.put([entry("rtc_1", *CALL)])

    assert await found(index, q) == []


async def test_search_for_what_was_not_said_alone_finds_the_others(index: Index) -> None:
    await index.put([entry("rtc_1", *CALL), entry("rtc_2", "Something else.", minutes=1)])

    assert await found(index, "-flight") == ["rtc_2"]
    page = await index.search(Query(q="-flight"))
    assert page.hits == {}


@pytest.mark.parametrize("text", ["Grüße aus Köln", "Привет, Москва", "مرحبا بالعالم", "東京 です"])
async def test_search_in_any_script_finds_its_words(index: Index, text: str) -> None:
    await index.put([entry("rtc_1", text)])

    for word in text.replace(",", "").split():
        assert await found(index, word.lower()) == ["rtc_1"]


@given(st.text(max_size=60))
def test_text_of_any_kind_is_one_line_that_every_database_takes(text: str) -> None:
    line = one_line(text)

    assert line == one_line(line)
    assert not set(line) & set("\x00\x02\x03\n\r\x1b\u2028")
    assert line.encode().decode() == line


@pytest.mark.parametrize(
    "q", ["' OR 1=1 --", "'); --", "\\", "%", "a:*b", "'x':*", "''''", "<->", "$1 $$ :name", "{}"]
)
async def test_search_for_signs_of_a_query_language_raises_nothing(index: Index, q: str) -> None:
    await index.put([entry("rtc_1", *CALL)])

    for text in (q, f"{q}*", f'"{q}"*', f"-{q}", f"flight {q}"):
        await found(index, text)


async def test_search_in_a_transcript_of_hours_reaches_to_its_bound(index: Index) -> None:
    words = [f"word{n} was said here at length" for n in range(20_000)]
    await index.put([entry("rtc_1", *words)])

    assert await found(index, "word0") == ["rtc_1"]
    assert await found(index, "word10000") == ["rtc_1"]
    assert await found(index, "word19999") == []


async def test_search_in_a_single_endless_word_raises_nothing(index: Index) -> None:
    await index.put([entry("rtc_1", "x" * 2_000_000, "later"), entry("rtc_2", "💥é" * 500_000)])

    assert await found(index, "anything") == []


# -- what is shown


async def test_search_when_found_shows_the_turns_with_their_time(index: Index) -> None:
    await index.put([entry("rtc_1", *CALL)])

    page = await index.search(Query(q="change"))

    assert page.hits["rtc_1"] == (
        Hit(
            0, "user", 0.0,
            (
                Fragment("Hello, I would like to ", is_match=False),
                Fragment("change", is_match=True),
                Fragment(" my flight to Lisbon.", is_match=False),
            ),
        ),
        Hit(
            3, "assistant", 7.5,
            (
                Fragment("Thank you. The ", is_match=False),
                Fragment("change", is_match=True),
                Fragment(" fee is forty euros; shall I go on?", is_match=False),
            ),
        ),
    )  # fmt: skip


async def test_search_when_many_turns_match_shows_the_first_few(index: Index) -> None:
    await index.put([entry("rtc_1", *["yes, yes"] * 20)])

    page = await index.search(Query(q="yes"))

    assert [hit.turn for hit in page.hits["rtc_1"]] == list(range(MAX_HITS))


async def test_search_when_markup_was_said_shows_it_as_text(index: Index) -> None:
    said = "<script>alert(1)</script> <b>needle</b>"
    await index.put([entry("rtc_1", said)])

    (hit,) = (await index.search(Query(q="needle"))).hits["rtc_1"]

    assert "".join(fragment.text for fragment in hit.snippet) == said
    assert [fragment.text for fragment in hit.snippet if fragment.is_match] == ["needle"]


async def test_search_when_a_turn_is_long_shows_the_place(index: Index) -> None:
    said = "before " * 200 + "needle " + "after " * 200
    await index.put([entry("rtc_1", "first", said)])

    (hit,) = (await index.search(Query(q="needle"))).hits["rtc_1"]

    text = "".join(fragment.text for fragment in hit.snippet)
    assert hit.turn == 1
    assert len(text) <= SNIPPET_CHARS + 2
    assert text.startswith("…before")
    assert text.endswith("after…")
    assert Fragment("needle", is_match=True) in hit.snippet


def test_hits_when_a_match_goes_over_a_line_end_are_in_both_lines() -> None:
    hits = hits_of(
        "one \x02two\nthree\x03 four\nfive", '[["user",1],["assistant",null],["user",3]]'
    )

    assert [hit.turn for hit in hits] == [0, 1]
    assert hits[1] == Hit(
        1, "assistant", None, (Fragment("three", is_match=True), Fragment(" four", is_match=False))
    )


def test_body_when_it_is_too_long_ends_with_a_turn() -> None:
    turns = [Turn("user", 0.0, "é" * 1000)] * 1000

    body, outline = body_of(turns)

    assert MAX_BODY_BYTES - 2001 <= len(body.encode()) <= MAX_BODY_BYTES
    assert body.count("\n") + 1 == outline.count("user")


def test_body_when_one_turn_is_too_long_is_its_beginning() -> None:
    body, outline = body_of([Turn("user", 0.0, "é" * MAX_BODY_BYTES)])

    assert len(body.encode()) == MAX_BODY_BYTES
    assert outline == '[["user",0.0]]'
