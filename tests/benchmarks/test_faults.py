"""Places of planted faults: found by the syntax of the code, whatever its text and its file."""

import ast
import textwrap

import pytest
from bench.faults import Fragment, Sources, Text, code_of, without_prose

from lightmamba.common.errors import InputError

UNIT = """
    WIDTH = 8  # bits

    class Unit:
        def elaborate(self, m):
            with m.If(
                self.i.valid & room & (self.o.ready | ~self.o.valid)  # : one place
            ):
                m.d.sync += [count.eq(count + 1), name.eq(f"{count + 1}")]
            total = sum(width for width in widths)
            if total > 1:
                last = first
            elif total:
                last = total * (first + WIDTH)
            return last

        def other(self):
            count = Signal()
            return count.eq(count + 1)
"""
CONDITION = "self.i.valid & room & (self.o.ready | ~self.o.valid)"


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "unit.py").write_text(textwrap.dedent(UNIT).lstrip())
    (tmp_path / "empty.py").write_text("")
    return Sources(tmp_path)


def planted(sources, find, replace, within=""):
    """Statements that changed, each without its layout: old ones and new ones."""
    place = sources.one(find, within)
    old, new = place.source.decode(), place.planted(replace)
    return [ast.unparse(ast.parse(text)).splitlines() for text in (old, new)]


@pytest.mark.parametrize(
    ("find", "replace", "was", "becomes"),
    [
        ("WIDTH = 8", "WIDTH = 7", "WIDTH = 8", "WIDTH = 7"),
        # The layout of neither text matters, and `a & b` is a node of `a & b & c`, `b & c` is not.
        ("(self.i . valid\n & (room))", "room", "self.i.valid & room & (", "m.If(room & ("),
        ("self.o.ready | ~self.o.valid", "1", "(self.o.ready | ~self.o.valid)", "room & 1"),
        # What binds less stays together.
        ("first + WIDTH", "first | WIDTH", "first + WIDTH", "total * (first | WIDTH)"),
        ("WIDTH = 8.0", None, "", ""),
        ("room & (self.o.ready | ~self.o.valid)", None, "", ""),
        # The parentheses of a call are those of its generator.
        ("(width for width in widths)", "widths", "sum((width", "sum(widths)"),
        (f"with m.If({CONDITION}):", "if 1:", "m.If", "if 1:"),
        ("if total > 1:", "if total > 2:", "if total > 1:", "if total > 2:"),
        # The test of an elif, not its header.
        ("elif total:", None, "", ""),
        ("if total:", None, "", ""),
        ("def other(self):", "def other(self, more):", "other(self):", "other(self, more):"),
        ("last = first", "pass", "last = first", "pass"),
    ],
)  # fmt: skip
def test_a_fragment_is_a_node(sources, find, replace, was, becomes):
    if replace is None:
        with pytest.raises(InputError):
            sources.one(find)
        return
    before, after = planted(sources, find, replace)
    changed = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
    assert len(changed) == 1
    assert was in changed[0][0]
    assert becomes in changed[0][1]


def test_several_statements_are_one_place(sources):
    find = "count = Signal()\nreturn count.eq(count + 1)"
    before, after = planted(sources, find, "with m.If(a):\n    b = 1\nreturn b")
    assert after[:-3] == before[:-2]
    assert after[-3:] == [" " * 8 + "with m.If(a):", " " * 12 + "b = 1", " " * 8 + "return b"]
    with pytest.raises(InputError, match="occurs 0 times"):
        sources.one("return count.eq(count + 1)\ncount = Signal()")


def test_a_name_narrows_the_place(sources):
    with pytest.raises(InputError, match=r"occurs 2 times and should occur once: .*unit.py in "
                       r"Unit.elaborate.*within = 'Unit.elaborate'"):  # fmt: skip
        sources.one("count.eq(count + 1)")
    assert sources.one("count + 1", "Unit.elaborate")  # not the one of the f-string
    place = sources.one("count.eq(count + 1)", "Unit.other")
    assert place.within == "Unit.other"
    assert place.planted("count.eq(0)").endswith("return (count.eq(0))")
    with pytest.raises(InputError, match="occurs 2 times in Unit and"):
        sources.one("count.eq(count + 1)", "Unit")


def test_what_cannot_be_narrowed_needs_more_code(tmp_path):
    (tmp_path / "unit.py").write_text("a.eq(0)\na.eq(0)\n")
    with pytest.raises(InputError, match=r"around it$"):
        Sources(tmp_path).one("a.eq(0)")


def test_a_wrong_name_or_text_shows_what_is_there(sources):
    with pytest.raises(InputError, match=r"elsewhere: unit.py in Unit.other; correct within"):
        sources.one("count = Signal()", "Unit.elaborate")
    with pytest.raises(InputError, match=r"nearest: 'count = Signal\(\)' \(unit.py in Unit.other"):
        sources.one("counts = Signal()")
    with pytest.raises(InputError, match=r"nearest: 'if total > 1:' \(unit.py in"):
        sources.one("if total > 10:")
    with pytest.raises(InputError, match="nearest: nothing"):
        sources.one("import numpy")


@pytest.mark.parametrize(
    ("fragment", "match"),
    [
        ("a & (b", r"is no Python on its own .*write a whole node, such as 'a\.eq\(b\)'"),
        ("", "write 'pass' to leave a statement out"),
        ("a = 1\nwith m.If(a):", "is more than one header"),
        ("with m.If(a):\n    with m.If(b):", "is more than one header"),
    ],
)
def test_a_fragment_that_is_none_is_refused(fragment, match):
    with pytest.raises(InputError, match=match):
        Fragment.parse(fragment)


def test_a_statement_cannot_stand_for_an_expression(sources):
    with pytest.raises(InputError, match="'pass' is a statement and cannot replace an expression"):
        sources.one("sum(width for width in widths)").planted("pass")


def test_prose_is_left_out_and_code_is_not():
    source = '''
"""Module."""

from lightmamba.hardware.rtl.pipe import (
    Pipe,
)

WIDTH = 8  # bits


class Unit:
    """A unit.

    Over several lines.
    """

    def name(self):  # a comment with "quotes"
        """Name."""
        # a line of its own
        return "# not a comment", """not a docstring"""
'''
    code = """\
WIDTH = 8
class Unit:
    def name(self):
        return "# not a comment", \"\"\"not a docstring\"\"\""""
    assert without_prose(source) == code
    assert without_prose(code) == code
    assert without_prose(source.replace("= 8", "= 9")) != code


CODE = """
int first(int x) {
    return x   // one line
        << 1;
}
"""


def test_a_piece_of_cpp_is_found_by_its_words(tmp_path):
    for name in ("a.hpp", "b.cpp"):
        (tmp_path / name).write_text(CODE)
    other = CODE.replace("first", "second")
    (tmp_path / "b.cpp").write_text(other)
    place = Text(tmp_path).one("second(int x) {\nreturn x")
    assert place.file.name == "b.cpp"
    assert place.planted("second(int x) {\n    return 0") == other.replace("return x", "return 0")
    assert Text(tmp_path).one("<<  1;", "a.hpp").file.name == "a.hpp"
    with pytest.raises(InputError, match=r"'<< 1;' occurs 2 times .*: a.hpp .*, b.cpp "):
        Text(tmp_path).one("<< 1;")
    with pytest.raises(InputError, match=r"'<<1;' occurs 0 times and should occur once$"):
        Text(tmp_path).one("<<1;")


def test_comments_of_cpp_are_no_code(tmp_path):
    file = tmp_path / "a.hpp"
    file.write_text(CODE)
    code = code_of(file)
    file.write_text(CODE.replace("one line", "of another").replace("x) {", "x) {  /* a\nb */"))
    assert code_of(file) == code
    file.write_text(CODE.replace("1;", "2;"))
    assert code_of(file) != code
