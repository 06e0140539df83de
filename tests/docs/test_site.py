"""The navigation of the site and the index name every page."""

import re
import runpy

from tests.docs.pages import ROOT

DOCS = ROOT / "docs"
JOINED = {"developer/contributing.md", "developer/changelog.md"}  # copied by scripts/site.py
PAGES = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
NOTEBOOKS = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.ipynb")}


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"([\w./-]+\.md)$", text.partition("\nnav:\n")[2], re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == PAGES | JOINED | {name.replace(".ipynb", ".md") for name in NOTEBOOKS}


INDEXES = ("index.md", "reference/api/index.md", "decisions/index.md")


def test_the_indexes_lead_to_every_page():
    """Pages of the API and decisions are listed by an index of their own."""
    for index in INDEXES:
        folder = (DOCS / index).parent
        text = (DOCS / index).read_text(encoding="utf-8")
        linked = {
            str((folder / name).resolve().relative_to(ROOT))
            for name in re.findall(r"\]\(([\w./-]+\.(?:md|ipynb))[#)]", text)
        }
        for page in PAGES | NOTEBOOKS:
            if page != index and _index_of(page) == index:
                assert f"docs/{page}" in linked, f"{index} does not link to {page}"


def _index_of(page):
    """The index that lists a page."""
    for index in INDEXES[1:]:
        if page.startswith(index.removesuffix("index.md")) and page != index:
            return index
    return INDEXES[0]


def test_a_line_never_ends_before_a_per_cent_sign():
    scope = runpy.run_path(str(ROOT / "scripts" / "site.py"))
    page = "| epilogue, 52 % |\n```\nx = 5 % 3\n```\n1 %\n"
    wanted = "| epilogue, 52\u00a0% |\n```\nx = 5 % 3\n```\n1\u00a0%\n"
    assert scope["unbroken"](page) == wanted
