"""Seeded damage: to bytes, to trees of plain values (JSON), and to lines of text (TOML)."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

__all__ = [
    "damage", "json_text", "mutate_bytes", "mutate_text", "mutate_tree", "single_faults",
    "with_fault",
]  # fmt: skip

DEEP = 5_000  # brackets, more than a recursive reader takes
VALUES: tuple[Any, ...] = (
    0, 1, 2, -1, 7, 128, 255, 1 << 31, -(1 << 31), 1 << 40, 1 << 63, 1 << 64, 10**30, 10**400,
    0.0, 0.5, 1.5, -1.5, 1e-300, 1e300, float("inf"), float("nan"), True, False, None, "", " ", "x",
    "4", "é\n\x1b[1m", "../../etc/passwd", "/etc/passwd", "a" * 3000, [], {}, [[]], [0], [-1, 1],
    {"x": 1}, "BF16", "F8_E4M3", "U8", "file", "random",
)  # fmt: skip
WORDS = (
    "0", "-1", "1", "2", "3", "4", "8", "16", "119", "128", "1000000", "9" * 25, "9" * 500, "1e9",
    "1e308", "-0.0", "0.5", "1e-300", "inf", "-inf", "nan", "true", "false", '""', '"x"', '"*"',
    '"\\n"', '"dither"', '"gptq"', "[]", "{}", "[1, 2, 3]", '["lane0"]', "{x = 1}", "1979-05-27",
    "07:32:00", "0x10", "'", '"""', "[" * DEEP, "=", "", "\x00", "é",
)  # fmt: skip
# What is put at every place, one after the other.
MISSING = object()
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 3, 128, 1000, 1 << 31, 1 << 40, 1 << 64, 10**400, 1.5, float("nan"), "4", None, True,
)  # fmt: skip
OTHERS: tuple[Any, ...] = ("", "x\n", "../../x", 0, -1, None, True, [], {}, [0], {"x": 1})
TOKEN = re.compile(r'"[^"\n]*"|-?\d[\d_.]*|true|false|[A-Za-z_]\w*|[\[\]{}=,*]')


def damage(rng: Random, change: Callable[[Random], None]) -> None:
    """Apply ``change`` once, or now and then a few times."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change(rng)


def mutate_bytes(rng: Random, data: bytes) -> bytes:
    """Flip, overwrite, cut, insert or repeat some bytes."""
    out = bytearray(data)
    at = rng.randrange(len(out) + 1) if rng.random() < 0.7 else rng.randrange(min(64, len(out) + 1))
    length = rng.choice((1, 1, 2, 8, 64, 1000))
    piece = out[at : at + length]
    kind = rng.randrange(6)
    if kind == 0 and piece:
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        out[at : at + length] = rng.randbytes(len(piece))
    elif kind == 2:
        del out[at : at + length]
    elif kind == 3:
        out[at:at] = rng.randbytes(length)
    elif kind == 4:
        out[at:at] = piece
    else:
        del out[at:]
    return bytes(out)


def mutate_tree(rng: Random, tree: Any) -> Any:
    """Change one place of a tree of plain values: its value, its key, or the list that it is in."""
    tree = deepcopy(tree)
    places = list(_places(tree))
    if not places:
        return rng.choice(VALUES)
    owner, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind < 3:
        owner[key] = deepcopy(rng.choice(VALUES))
    elif kind == 3 and isinstance(owner[key], int):
        owner[key] += rng.choice((-2, -1, 1, 2, 4096))
    elif kind == 4:
        del owner[key]
    elif kind == 5:
        other, name = rng.choice(places)
        owner[key] = deepcopy(other.get(name) if isinstance(other, dict) else owner[key])
    elif isinstance(owner, dict):
        owner[rng.choice((f"{key}x", "", "é\n", "../x"))] = owner.pop(key)
    else:
        owner.append(deepcopy(owner[key]))
    return tree


def single_faults(tree: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Every place of a tree with every value that is likely wrong there: (path, value)."""
    found: list[tuple[tuple[Any, ...], Any]] = []
    for path, value in _paths(tree):
        if isinstance(value, int | float) and not isinstance(value, bool):
            wrong: tuple[Any, ...] = (*NUMBERS, value - 1, value + 1)
        else:
            wrong = OTHERS
        found += [(path, each) for each in (*wrong, MISSING)]
    return found


def with_fault(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a tree with one place changed, or left out."""
    tree = deepcopy(tree)
    owner = tree
    for key in path[:-1]:
        owner = owner[key]
    if value is MISSING:
        del owner[path[-1]]
    else:
        owner[path[-1]] = deepcopy(value)
    return tree


def json_text(tree: Any) -> bytes:
    """JSON of a tree; Python's writer takes infinity and NaN, as its reader does."""
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def mutate_text(rng: Random, text: str) -> str:
    """Change one token, or repeat, drop, swap or split lines."""
    lines, kind = text.split("\n"), rng.randrange(8)
    at = rng.randrange(len(lines))
    if kind < 4:
        tokens = list(TOKEN.finditer(text))
        if tokens:
            token = rng.choice(tokens)
            word = rng.choice(WORDS) if rng.random() < 0.8 else rng.choice(tokens)[0]
            return text[: token.start()] + word + text[token.end() :]
    if kind == 4:
        del lines[at]
    elif kind == 5:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif kind == 6:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    else:
        cut = rng.randrange(len(lines[at]) + 1)
        lines[at : at + 1] = [lines[at][:cut], lines[at][cut:]]
    return "\n".join(lines)


def _paths(tree: Any, at: tuple[Any, ...] = ()) -> Any:
    """Every (path, value) of a tree."""
    for owner, key in _places(tree):
        if owner is tree:
            yield (*at, key), tree[key]
            if isinstance(tree[key], dict | list):
                yield from _paths(tree[key], (*at, key))


def _places(tree: Any) -> Any:
    """Every (dict or list, key or index) of a tree."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree))
    for key in list(keys):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])
