"""Find the place of a planted fault by the syntax of the code, not by its text or its file.

A fragment is Python: an expression, one or more statements, or the header of a compound statement
(``with m.If(ready):``). It is found wherever the syntax tree has the same nodes. So line breaks,
quotes, parentheses and comments do not matter, nor does the file, and code may be reformatted or
moved. Not looked into: the expressions of f-strings, and ``elif``, whose test is an expression.
"""

import ast
import difflib
import io
import textwrap
import tokenize
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightmamba.common.errors import InputError

__all__ = ["Fragment", "Place", "Sources", "imports_package", "without_prose"]

Kind = Literal["expression", "statement", "header"]
BODY = {"body", "orelse", "finalbody", "handlers", "decorator_list"}  # no part of a header
NEAREST = 3


@dataclass(frozen=True)
class Fragment:
    """A piece of Python, as it is looked for: its nodes are more than one for statements only."""

    kind: Kind
    nodes: tuple[ast.AST, ...]

    @classmethod
    def parse(cls, text: str) -> "Fragment":
        """Read a fragment.

        Raises
        ------
        InputError
            If it is neither an expression, nor statements, nor a header.
        """
        text = textwrap.dedent(text).strip()
        header = text.endswith(":")
        try:
            found = ast.parse(text + " pass" if header else text).body
        except SyntaxError as error:
            raise InputError(
                f"{text!r} is no Python on its own ({error.msg}); "
                f"write a whole node, such as 'a.eq(b)', 'a = b', 'with m.If(a):' or 'pass'"
            ) from None
        if not found:
            raise InputError(
                "an empty fragment has no place; write 'pass' to leave a statement out"
            )
        if header:
            if [type(node) for node in getattr(found[0], "body", [])] != [ast.Pass]:
                raise InputError(f"{text!r} is more than one header, such as 'with m.If(a):'")
            return cls("header", tuple(found))
        if len(found) == 1 and isinstance(found[0], ast.Expr):
            return cls("expression", (found[0].value,))
        return cls("statement", tuple(found))


@dataclass(frozen=True)
class Place:
    """Place of a fragment: bytes ``begin`` to ``end`` of a file, from a line and a column."""

    file: Path
    within: str  # qualified name of the innermost class or function, "" at the top of a file
    kind: Kind
    begin: int
    end: int
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line} in {self.within or 'no class or function'}"

    def planted(self, replace: str) -> str:
        """Text of the file with other code at this place.

        Raises
        ------
        InputError
            If that is code of another kind.
        """
        kind = Fragment.parse(replace).kind
        if kind != self.kind:
            raise InputError(f"{replace!r} is {_a(kind)} and cannot replace {_a(self.kind)}")
        text = textwrap.dedent(replace).strip()
        if self.kind == "expression":
            text = f"({text})"  # the same tree, whatever is around it
        text = text.replace("\n", "\n" + " " * self.column)
        source = self.file.read_bytes()
        return (source[: self.begin] + text.encode() + source[self.end :]).decode()


@dataclass(frozen=True)
class _Site:
    """A node in its file; for a statement, those that follow it too."""

    file: Path
    within: str
    nodes: Sequence[ast.AST]


class Sources:
    """The syntax trees of all Python files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}  # one per tree that differs
        self._number_of: dict[ast.AST, int] = {}
        self._sites: dict[tuple[Kind, int], list[_Site]] = defaultdict(list)
        self._text: dict[Path, bytes] = {}
        self._starts: dict[Path, list[int]] = {}
        for file in sorted(folder.rglob("*.py")):
            self._text[file] = text = file.read_bytes()
            self._starts[file] = starts = [0, 0]  # lines count from 1
            for line in text.splitlines(keepends=True):
                starts.append(starts[-1] + len(line))
            self._enter(ast.parse(text), file, ())

    def one(self, find: str, within: str = "") -> Place:
        """The only place of a fragment, in the class or function ``within`` if one is given.

        Raises
        ------
        InputError
            If there is none, with what comes nearest; if there are more, with all of them.
        """
        fragment = Fragment.parse(find)
        places = self.places(fragment, within)
        if len(places) == 1:
            return places[0]
        where = f" in {within}" if within else ""
        found = f"{find!r} occurs {len(places)} times{where} and should occur once"
        if places:
            raise InputError(f"{found}: {_listed(places)}; {_advice(places)}")
        elsewhere = self.places(fragment) if within else []
        if elsewhere:
            raise InputError(f"{found}, but it is elsewhere: {_listed(elsewhere)}; correct within")
        nearest = list(self._nearest(fragment, within)) or ["nothing"]
        raise InputError(f"{found}; nearest: {'; '.join(nearest)}")

    def places(self, fragment: Fragment, within: str = "") -> list[Place]:
        """All places of a fragment, in the class or function ``within`` if one is given."""
        wanted = [self._number(node, fragment.kind) for node in fragment.nodes]
        return [
            self._place(site, fragment.kind, len(wanted))
            for site in self._sites.get((fragment.kind, wanted[0]), [])
            if not within or f"{site.within}.".startswith(f"{within}.")
            if [self._number(n, fragment.kind) for n in site.nodes[: len(wanted)]] == wanted
        ]

    def _nearest(self, fragment: Fragment, within: str) -> Iterator[str]:
        """The code that looks most like a fragment, and where it is."""
        kind, node = fragment.kind, fragment.nodes[0]
        sites = {
            _shown(kind, site.nodes[0]): site
            for (of, _), found in self._sites.items()
            for site in found
            if of == kind and type(site.nodes[0]) is type(node)
        }
        for text in difflib.get_close_matches(_shown(kind, node), sites, NEAREST):
            yield f"{text!r} ({self._place(sites[text], kind, 1)})"

    def _enter(self, node: ast.AST, file: Path, names: tuple[str, ...]) -> None:
        """Note the places of what is below a node."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = (*names, node.name)
        if isinstance(node, ast.JoinedStr):
            return
        within = ".".join(names)
        for _, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else [value]
            for n, child in enumerate(children):
                if isinstance(child, ast.stmt) and not self._is_elif(child, file):
                    self._add("statement", _Site(file, within, children[n:]))
                    if hasattr(child, "body"):
                        self._add("header", _Site(file, within, [child]))
                elif isinstance(child, ast.expr):
                    self._add("expression", _Site(file, within, [child]))
                if isinstance(child, ast.AST):
                    self._enter(child, file, names)

    def _add(self, kind: Kind, site: _Site) -> None:
        self._sites[kind, self._number(site.nodes[0], kind)].append(site)

    def _number(self, value: ast.AST, kind: Kind) -> int:
        """Number of a tree, the same for equal ones."""
        if kind == "header":
            return self._numbered((kind, *self._parts(value, BODY)))
        if value not in self._number_of:
            self._number_of[value] = self._numbered(self._parts(value))
        return self._number_of[value]

    def _numbered(self, parts: tuple[object, ...]) -> int:
        return self._numbers.setdefault(parts, len(self._numbers))

    def _parts(self, node: ast.AST, left_out: Collection[str] = ()) -> tuple[object, ...]:
        """Type of a node and what its fields hold."""
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in left_out)
        return (type(node), *((name, self._part(value)) for name, value in fields))

    def _part(self, value: object) -> object:
        if isinstance(value, ast.AST):
            return self._number(value, "expression")
        if isinstance(value, list):
            return tuple(map(self._part, value))
        return type(value), value  # 1, 1.0 and True differ

    def _place(self, site: _Site, kind: Kind, count: int) -> Place:
        first, last = site.nodes[0], site.nodes[count - 1]
        assert isinstance(first, ast.stmt | ast.expr)
        begin, end = self._begin(first, site.file), self._end(last, site.file)
        if kind == "header":
            inside = (n for name, v in ast.iter_fields(first) if name not in BODY for n in _all(v))
            after = max((self._end(n, site.file) for n in inside), default=begin)
            end = self._text[site.file].index(b":", after) + 1
        return Place(site.file, site.within, kind, begin, end, first.lineno, first.col_offset)

    def _begin(self, node: ast.stmt | ast.expr, file: Path) -> int:
        return self._starts[file][node.lineno] + node.col_offset

    def _end(self, node: ast.AST, file: Path) -> int:
        """Where a node ends; 0 for one without a position."""
        line, column = getattr(node, "end_lineno", 0), getattr(node, "end_col_offset", 0)
        return self._starts[file][line] + column

    def _is_elif(self, node: ast.stmt, file: Path) -> bool:
        return isinstance(node, ast.If) and self._text[file].startswith(
            b"elif", self._begin(node, file)
        )


def _all(value: object) -> Iterator[ast.AST]:
    """Nodes of a field, and all below them."""
    for node in value if isinstance(value, list) else [value]:
        if isinstance(node, ast.AST):
            yield from ast.walk(node)


def _shown(kind: Kind, node: ast.AST) -> str:
    """Code of a node on one line, or its header's first one."""
    text = ast.unparse(node)
    return text.splitlines()[0] if kind == "header" else text


def _advice(places: Sequence[Place]) -> str:
    """How to choose one of several places."""
    count = Counter(place.within for place in places)
    alone = [name for name, times in count.items() if name and times == 1]
    narrow = f", or narrow it, as in within = {alone[0]!r}" if alone else ""
    return f"take more of the code around it{narrow}"


def _listed(places: Sequence[Place]) -> str:
    return ", ".join(map(str, places))


def _a(kind: Kind) -> str:
    return f"an {kind}" if kind == "expression" else f"a {kind}"


def imports_package(node: ast.AST) -> bool:
    """Whether a statement imports from the package, by a path that is another when files move."""
    if isinstance(node, ast.ImportFrom):
        return f"{node.module}.".startswith("lightmamba.")
    return isinstance(node, ast.Import) and any(
        f"{name.name}.".startswith("lightmamba.") for name in node.names
    )


def without_prose(source: str) -> str:
    """Python without comments, docstrings, empty lines and imports from the package.

    The other code is left as it is.
    """
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, column = token.start
            lines[line - 1] = lines[line - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node) is None:
                continue
            gone: ast.stmt = node.body[0]
        elif imports_package(node) and isinstance(node, ast.stmt):
            gone = node
        else:
            continue
        for line in range(gone.lineno - 1, gone.end_lineno or gone.lineno):
            lines[line] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
