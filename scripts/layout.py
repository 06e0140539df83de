"""Draw docs/developer/layout.svg: which room of the package imports which.

A room is a folder or a module at the top of ``src/lightmamba``. Their order is that of the import
rules in pyproject.toml. With ``--check``, nothing is written: the picture must be that of the
imports, the table of layout.md must list the rooms in order, and rooms and arrows may not be more
than the limits below.

    python -m scripts.layout [--check]
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import grimp
from bench.drawing import Drawing

ROOT = Path(__file__).parent.parent
PICTURE, PAGE = ROOT / "docs/developer/layout.svg", ROOT / "docs/developer/layout.md"
PACKAGE, PROGRAM = "lightmamba", "__main__"
ROOMS, ARROWS = 18, 110  # at most
CELL, LEFT, TOP = 26, 92, 16  # pixels


def rooms() -> list[str]:
    """Rooms from the top down, as the import rules list them."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (rule["layers"] for rule in rules["contracts"] if rule["type"] == "layers")
    found = [name.strip() for layer in layers for name in layer.split("|")]
    return [name for name in found if name != PROGRAM]


def arrows(of: Sequence[str]) -> set[tuple[str, str]]:
    """Pairs of rooms of which the first one imports the second one."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = tuple(f"{name}.".split(".")[1] for name in (module, imported))
            if pair[0] != pair[1] and set(pair) <= set(of):
                found.add((pair[0], pair[1]))
    return found


def picture(of: Sequence[str], pairs: set[tuple[str, str]]) -> str:
    """A triangle: a dot in the row of a room and the column of one that it imports."""
    size = len(of) * CELL
    d = Drawing(
        LEFT + size + 14, TOP + size + 14,
        f"{len(of)} rooms of the package, each of which imports only rooms below it here: a dot "
        f"says that the room of its row imports the room of its column",
    )  # fmt: skip
    for n, room in enumerate(of):
        x, y = LEFT + (n + 0.5) * CELL, TOP + (n + 0.5) * CELL
        d.line(x + CELL / 2, y, LEFT + size, y, "hair", 1)
        d.line(x, TOP, x, y - CELL / 2, "hair", 1)
        d.text(x + 10, y + 5, room, "bold end")
    for source, target in sorted(pairs):
        column, row = of.index(target) + 0.5, of.index(source) + 0.5
        d.dot(LEFT + column * CELL, TOP + row * CELL, "estimated")
    return d.svg()


def problems(of: Sequence[str], pairs: set[tuple[str, str]], svg: str) -> list[str]:
    """Problems of the picture, the page and the counts, a sentence each."""
    found = []
    if len(of) > ROOMS:
        found.append(f"{len(of)} rooms are more than {ROOMS}; put the new one into another")
    if len(pairs) > ARROWS:
        found.append(f"{len(pairs)} arrows between rooms are more than {ARROWS}")
    listed = re.findall(r"^\| \[?`(\w+)[/.]", PAGE.read_text(encoding="utf-8"), re.M)
    if listed != list(reversed(of)):
        found.append(f"layout.md lists {', '.join(listed)}, not {', '.join(reversed(of))}")
    if not PICTURE.is_file() or PICTURE.read_text(encoding="utf-8") != svg:
        found.append("layout.svg is not that of the imports; run python -m scripts.layout")
    return found


def main() -> int:
    """Write the picture, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if it is old")
    check = parser.parse_args().check
    of = rooms()
    pairs = arrows(of)
    svg = picture(of, pairs)
    if not check:
        PICTURE.write_text(svg, encoding="utf-8")
    print(f"{len(of)} rooms, {len(pairs)} arrows between them")
    wrong = problems(of, pairs, svg)
    for each in wrong:
        print(f"layout: {each}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
