"""Messages to users are one line, whatever names and texts are part of them."""

import pytest

from lightmamba.common.errors import InputError, shown


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one sentence", "one sentence"),
        ("two  spaces", "two  spaces"),
        ("first\n  second\r\nthird\n", "first second third"),
        ("é ü 日本 …", "é ü 日本 …"),
        ("red \x1b[31m", "red \\x1b[31m"),
        ("tab\there, nul\x00, and \u2028separator", "tab\\there, nul\\x00, and separator"),
    ],
)
def test_one_line(text, line):
    assert str(InputError(text)) == line


def test_an_endless_sentence_is_cut():
    text = str(InputError("begin " + "a" * 10_000 + " end"))
    assert len(text) <= 1500
    assert text.startswith("begin aaa")
    assert text.endswith("aaa end")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("é", "'é'"),
        ("\x1b\n", "'\\x1b\\n'"),
        ([1, "x"], "[1, 'x']"),
        ("a" * 100, "'" + "a" * 58 + "…"),
    ],
)
def test_values(value, text):
    assert shown(value) == text


def test_a_number_that_python_does_not_write():
    assert shown(10**5000) == "a very large number"
