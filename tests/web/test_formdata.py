"""multipart/form-data, byte for byte."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.errors import InvalidRequest
from relay.web.formdata import MAX_PARTS, Part, parse_form

TYPE = "multipart/form-data; boundary=XX"


def part(name: str, content: bytes, *fields: str) -> bytes:
    head = "\r\n".join((f'Content-Disposition: form-data; name="{name}"', *fields))
    return f"--XX\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


def test_form_of_a_browser_is_read() -> None:
    body = (
        b"------WebKitFormBoundaryA1\r\n"
        b'Content-Disposition: form-data; name="sdp"\r\n\r\nv=0\r\n\r\n'
        b"------WebKitFormBoundaryA1\r\n"
        b'Content-Disposition: form-data; name="session"; filename="blob"\r\n'
        b"Content-Type: application/JSON; charset=utf-8\r\n\r\n{}\r\n"
        b"------WebKitFormBoundaryA1--\r\n"
    )

    parts = parse_form(body, "multipart/form-data; boundary=----WebKitFormBoundaryA1")

    assert parts == {"sdp": Part(b"v=0\r\n", None), "session": Part(b"{}", "application/json")}


def test_form_with_quoted_boundary_preamble_and_padding_is_read() -> None:
    body = (
        b"preamble\r\n--a b \t\r\ncontent-disposition:form-data;name=x\r\n\r\n1\r\n--a b--epilogue"
    )

    assert parse_form(body, 'multipart/form-data; Boundary="a b"') == {"x": Part(b"1", None)}


@given(content=st.binary(), other=st.binary())
def test_form_any_content_comes_out_as_it_went_in(content: bytes, other: bytes) -> None:
    if b"--XX" in content + other:
        return
    body = part("a", content) + part("b", other) + b"--XX--\r\n"

    assert parse_form(body, TYPE) == {"a": Part(content, None), "b": Part(other, None)}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (part("a", b"1") + b"--XX--", "multipart/form-data"),
        (part("a", b"1") + b"--XX--", "multipart/form-data; boundary="),
        (b"", TYPE),
        (b"nothing", TYPE),
        (part("a", b"1"), TYPE),
        (part("a", b"1") + b"--XX", TYPE),
        (b"--XX\r\n\r\nno name\r\n--XX--", TYPE),
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--XX--", TYPE),
        (b"--XX\r\nno end of the head\r\n--XX--", TYPE),
        (b"--XXX\r\n\r\nanother boundary\r\n--XX--", TYPE),
        (part("a", b"1") * 2 + b"--XX--", TYPE),
    ],
)
def test_form_that_is_broken_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_form(body, content_type)

    assert caught.value.code == "invalid_multipart"


@pytest.mark.parametrize(("count", "taken"), [(MAX_PARTS, True), (MAX_PARTS + 1, False)])
def test_form_has_a_bound_of_parts(count: int, taken: bool) -> None:
    body = b"".join(part(str(number), b"") for number in range(count)) + b"--XX--"

    if taken:
        assert len(parse_form(body, TYPE)) == count
    else:
        with pytest.raises(InvalidRequest, match="more than"):
            parse_form(body, TYPE)


pieces = st.sampled_from(
    [
        b"--XX",
        b"--XX--",
        b"\r\n",
        b"\r\n\r\n",
        b'Content-Disposition: form-data; name="a"',
        b":",
        b"x",
    ]
)


@given(st.lists(pieces, max_size=30).map(b"".join) | st.binary(), st.text(max_size=40))
def test_form_any_bytes_end_in_parts_or_in_a_typed_error(body: bytes, parameters: str) -> None:
    for content_type in (TYPE, f"multipart/form-data;{parameters}"):
        with suppress(InvalidRequest):
            parse_form(body, content_type)
