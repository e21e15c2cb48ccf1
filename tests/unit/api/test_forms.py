"""Forms and multipart are read in pieces that hold up nobody, with the results of reading them at once."""

from __future__ import annotations

import tracemalloc
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import forms, multipart
from service.errors import ParameterMalformed

MOST = 8
MARK = b"\r\n--ab"

text = st.lists(
    st.sampled_from(
        [b"%", b"%4", b"%41", b"%zz", b"%e4%ba%ba", b"%26", b"%FF", "人".encode(), b"\xff", b"+", b"a0", b""]
    )
).map(b"".join)
content = st.one_of(
    st.lists(st.tuples(text, st.sampled_from([b"&", b"=", b"&&", b";", b""])).map(b"".join), max_size=12).map(b"".join),
    st.binary(max_size=40),
)


def at_once(form: bytes) -> list[tuple[str, str]] | type[Exception]:
    try:
        return parse_qsl(form.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST)
    except ValueError as error:
        return type(error)


def in_pieces(form: bytes) -> list[tuple[str, str]] | type[Exception]:
    try:
        return forms.pairs(form, MOST)
    except ValueError as error:
        return type(error)


@pytest.mark.parametrize("window", [3, 4, 7, 2**18])
@given(form=content)
def test_forms_are_read_as_the_standard_library_reads_them(window: int, form: bytes) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(forms, "_WINDOW", window)
        assert in_pieces(form) == at_once(form)


def test_a_form_of_escapes_is_never_a_list_of_them() -> None:
    """A list of a million pieces takes tens of megabytes, and nobody else runs while it is made and dropped."""
    form = b"image=" + b"%41" * 1_000_000
    tracemalloc.start()
    try:
        assert forms.pairs(form, 1) == [("image", "A" * 1_000_000)]
        assert tracemalloc.get_traced_memory()[1] < 5 * len(form)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("window", [1, 5, 2**18])
@given(
    pieces=st.lists(
        st.lists(st.sampled_from([b"\r\n--", b"\r", b"\n", b"--a", b"b", b"x"]), max_size=6).map(b"".join), max_size=4
    )
)
def test_boundaries_are_found_wherever_they_stand(window: int, pieces: list[bytes]) -> None:
    joined = MARK.join(pieces)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(multipart, "_WINDOW", window)
        assert multipart._split(joined, MARK) == joined.split(MARK)


def test_parts_are_counted() -> None:
    part = b'--ab\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n'
    parts = [part % number for number in range(multipart.MOST_PARTS)]
    assert len(multipart.parse(b"".join(parts) + b"--ab--", b"ab")) == multipart.MOST_PARTS
    with pytest.raises(ParameterMalformed, match="more than"):
        multipart.parse(b"".join([*parts, part % 99]) + b"--ab--", b"ab")
