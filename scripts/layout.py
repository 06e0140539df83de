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
from bench.pictures import is_current, text_of, write
from matplotlib.figure import Figure

from lightmamba.study.plots.style import COLORS, styled

ROOT = Path(__file__).parent.parent
PICTURE, PAGE = "developer/layout.svg", ROOT / "docs/developer/layout.md"
PACKAGE, PROGRAM = "lightmamba", "__main__"
ROOMS, ARROWS = 18, 110  # at most


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


@styled
def picture(of: Sequence[str], pairs: set[tuple[str, str]]) -> Figure:
    """A triangle: a dot in the row of a room and the column of one that it imports."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes, size = figure.subplots(), len(of)
    for n, room in enumerate(of):
        axes.plot([n + 0.5, size], [n, n], color=COLORS["hair"], linewidth=1)
        axes.plot([n, n], [-0.5, n - 0.5], color=COLORS["hair"], linewidth=1)
        axes.text(n + 0.4, n, room, ha="right", va="center", weight="bold")
    for source, target in sorted(pairs):
        axes.plot(of.index(target), of.index(source), "o", color=COLORS["estimated"])
    axes.set(xlim=(-2.5, size), ylim=(size, -0.5))
    axes.set_axis_off()
    return figure


def problems(of: Sequence[str], pairs: set[tuple[str, str]], shown: object) -> list[str]:
    """Problems of the picture, the page and the counts, a sentence each."""
    found = []
    if len(of) > ROOMS:
        found.append(f"{len(of)} rooms are more than {ROOMS}; put the new one into another")
    if len(pairs) > ARROWS:
        found.append(f"{len(pairs)} arrows between rooms are more than {ARROWS}")
    listed = re.findall(r"^\| \[?`(\w+)[/.]", PAGE.read_text(encoding="utf-8"), re.M)
    if listed != list(reversed(of)):
        found.append(f"layout.md lists {', '.join(listed)}, not {', '.join(reversed(of))}")
    if not is_current(PICTURE, shown):
        found.append("layout.svg is not that of the imports; run python -m scripts.layout")
    return found


def main() -> int:
    """Write the picture, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if it is old")
    check = parser.parse_args().check
    of = rooms()
    pairs = arrows(of)
    shown = (of, sorted(pairs))
    if not check:
        write(PICTURE, shown, text_of(picture(of, pairs)))
    print(f"{len(of)} rooms, {len(pairs)} arrows between them")
    wrong = problems(of, pairs, shown)
    for each in wrong:
        print(f"layout: {each}", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
