"""The pages of README and docs, and the commands on them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PROGRAMS = ("lightmamba", "python", "python3", "make", "pip", "source", "ray", "for")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, those in lists too."""
    text = page.read_text(encoding="utf-8")
    return [Block(kind, textwrap.dedent(body)) for _, kind, body in BLOCK.findall(text)]


def commands(page: Path) -> list[str]:
    """Shell commands of a page: continued lines joined, a loop as one command."""
    found = []
    for block in blocks(page):
        if block.kind or block.text.split(maxsplit=1)[0] not in PROGRAMS:
            continue
        lines = iter(block.text.replace("\\\n", " ").splitlines())
        for line in lines:
            if line.startswith("for "):
                line = "\n".join([line, *_until_done(lines)])
            if line.strip():
                found.append(re.sub(r"\s+#.*$", "", line))
    return found


def _until_done(lines: Iterator[str]) -> Iterator[str]:
    """The rest of a loop."""
    for line in lines:
        yield line
        if line == "done":
            return


def not_run() -> dict[str, str]:
    """Beginnings of commands that no test runs, and the reasons, from the page that lists them."""
    text = (ROOT / "docs/developer/docs.md").read_text(encoding="utf-8")
    table = text.partition("## Commands that are not run")[2]
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", table, re.MULTILINE))
