"""Find the place of a planted fault by the syntax of the code, not by its text or its file.

A fragment of Python is an expression, one or more statements, or the header of a compound statement
(``with m.If(ready):``). Files and fragments are compared as ``ast.unparse`` writes them, node by
node. So line breaks, quotes, parentheses and comments do not matter, nor does the file, and code
may be reformatted or moved. Not looked into: the expressions of f-strings, and ``elif``, whose test
is an expression. A fragment of C++ (`Text`) is words, whatever the white space between them.
"""

import ast
import difflib
import io
import re
import textwrap
import tokenize
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lightmamba.common.errors import InputError

__all__ = [
    "Fragment", "Place", "Sources", "Text", "code_of", "imports_package", "without_prose",
]  # fmt: skip

Kind = Literal["expression", "statement", "header", "text"]
NEAREST = 3


@dataclass(frozen=True)
class Fragment:
    """A piece of Python: its text as ``ast.unparse`` writes it, of statements one by one."""

    kind: Kind
    texts: tuple[str, ...]

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
        texts = tuple(map(ast.unparse, found))
        if header:
            if [type(node) for node in getattr(found[0], "body", [])] != [ast.Pass]:
                raise InputError(f"{text!r} is more than one header, such as 'with m.If(a):'")
            return cls("header", (texts[0].removesuffix("\n    pass"),))
        alone = len(found) == 1 and isinstance(found[0], ast.Expr)
        return cls("expression" if alone else "statement", texts)


@dataclass(frozen=True)
class Place:
    """Place of a fragment: bytes ``begin`` to ``end`` of a file as ``ast.unparse`` writes it."""

    file: Path
    source: bytes
    within: str  # qualified name of the innermost class or function, "" at the top of a file
    kind: Kind
    begin: int
    end: int

    def __str__(self) -> str:
        return f"{self.file.name} in {self.within or 'no class or function'}"

    @property
    def column(self) -> int:
        """Bytes before it on its line."""
        return self.begin - self.source.rfind(b"\n", 0, self.begin) - 1

    @property
    def text(self) -> str:
        """Its code, as if it began at the left."""
        found = self.source[self.begin : self.end].decode()
        return found.replace("\n" + " " * self.column, "\n")

    def planted(self, replace: str) -> str:
        """Text of the file with other code at this place.

        Raises
        ------
        InputError
            If that is code of another kind.
        """
        if self.kind == "text":
            return (self.source[: self.begin] + replace.encode() + self.source[self.end :]).decode()
        kind = Fragment.parse(replace).kind
        if kind != self.kind:
            raise InputError(f"{replace!r} is {_a(kind)} and cannot replace {_a(self.kind)}")
        text = textwrap.dedent(replace).strip()
        if self.kind == "expression" and not text.startswith("*"):
            text = f"({text})"  # the same tree, whatever is around it
        text = text.replace("\n", "\n" + " " * self.column)
        return (self.source[: self.begin] + text.encode() + self.source[self.end :]).decode()


class Sources:
    """All nodes of the Python files of folders, by their text."""

    def __init__(self, *folders: Path) -> None:
        # The place of a node; for a statement, then those of the ones that follow it.
        self._places: dict[tuple[Kind, str], list[Sequence[Place]]] = defaultdict(list)
        for file in _files("*.py", folders):
            text = ast.unparse(ast.parse(file.read_bytes())).encode()
            starts = [0, 0]  # lines count from 1
            for line in text.splitlines(keepends=True):
                starts.append(starts[-1] + len(line))
            self._enter(ast.parse(text), file, text, starts, ())

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
        known = [text for kind, text in self._places if kind == fragment.kind]
        nearest = [
            f"{text!r} ({self._places[fragment.kind, text][0][0]})"
            for text in difflib.get_close_matches(fragment.texts[0], known, NEAREST)
        ]
        raise InputError(f"{found}; nearest: {'; '.join(nearest or ['nothing'])}")

    def places(self, fragment: Fragment, within: str = "") -> list[Place]:
        """All places of a fragment, in the class or function ``within`` if one is given."""
        wanted, found = list(fragment.texts), list[Place]()
        for first, *others in self._places.get((fragment.kind, wanted[0]), []):
            after = others[: len(wanted) - 1]
            if within and not f"{first.within}.".startswith(f"{within}."):
                continue
            if [place.text for place in after] == wanted[1:]:
                found.append(replace(first, end=(first, *after)[-1].end))
        return found

    def _enter(
        self, node: ast.AST, file: Path, source: bytes, starts: list[int], names: tuple[str, ...]
    ) -> None:
        """Note the places of what is below a node."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = (*names, node.name)
        if isinstance(node, ast.JoinedStr):
            return

        def place(kind: Kind, of: ast.stmt | ast.expr) -> Place:
            begin = starts[of.lineno] + of.col_offset
            end = starts[of.end_lineno or 0] + (of.end_col_offset or 0)
            if kind == "header":  # it is written on one line
                end = source.index(b"\n", begin)
            return Place(file, source, ".".join(names), kind, begin, end)

        for _, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else [value]
            if children and isinstance(children[0], ast.stmt):
                places = [place("statement", child) for child in children]
                for n, child in enumerate(children):
                    if source.startswith(b"elif", places[n].begin):
                        continue
                    self._places["statement", places[n].text].append(places[n:])
                    if hasattr(child, "body"):
                        header = place("header", child)
                        self._places["header", header.text].append([header])
            for child in children:
                if isinstance(child, ast.expr) and isinstance(
                    getattr(child, "ctx", ast.Load()), ast.Load
                ):
                    found = place("expression", child)
                    self._places["expression", found.text].append([found])
                if isinstance(child, ast.AST):
                    self._enter(child, file, source, starts, names)


class Text:
    """C++ files of folders, in which a fragment is found by its words, whatever the white space."""

    def __init__(self, *folders: Path) -> None:
        self._texts = {file: file.read_text() for file in _files("*.?pp", folders)}

    def one(self, find: str, within: str = "") -> Place:
        """The only place of a fragment, in the file ``within`` if one is given.

        Raises
        ------
        InputError
            If there is none, or if there are more, with their files.
        """
        words = re.compile(r"\s+".join(map(re.escape, find.split())))
        places = [
            Place(
                file, text.encode(), "", "text",
                len(text[: found.start()].encode()), len(text[: found.end()].encode()),
            )
            for file, text in self._texts.items() if within in ("", file.name)
            for found in words.finditer(text)
        ]  # fmt: skip
        if len(places) == 1:
            return places[0]
        advice = f": {_listed(places)}; take more of the code around it" if places else ""
        raise InputError(f"{find!r} occurs {len(places)} times and should occur once{advice}")


def _files(pattern: str, folders: Sequence[Path]) -> list[Path]:
    return [file for folder in folders for file in sorted(folder.rglob(pattern))]


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


def code_of(file: Path) -> str:
    """Code of a file of Python or C++, without what is there for people."""
    source = file.read_text()
    if file.suffix == ".py":
        return without_prose(source)
    source = re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in source.split("\n") if line.strip())


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
