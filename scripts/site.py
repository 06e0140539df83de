"""Build the docs site: ``python scripts/site.py``, or ``make docs``.

The pages in ``docs/`` are copied to ``build/pages``, notebooks become Markdown with their stored
outputs, and CONTRIBUTING and CHANGELOG join them. Then Zensical builds ``build/site`` strictly: a
broken link or an unknown name in the API reference is an error.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES, SITE = ROOT / "build/pages", ROOT / "build/site"
JOINED = {"CONTRIBUTING.md": "developer/contributing.md", "CHANGELOG.md": "developer/changelog.md"}


def copy_pages() -> None:
    """Copy ``docs/`` and the two pages of the root, with links that hold on the site."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name, place in JOINED.items():
        shutil.copy(ROOT / name, PAGES / place)
    for path in PAGES.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        depth = len(path.relative_to(PAGES).parts) - 1
        for name, place in JOINED.items():
            inside = "../" * depth + place
            text = re.sub(rf"\]\((?:\.\./)+{re.escape(name)}", f"]({inside}", text)
        text = text.replace("](docs/", "](" + "../" * depth)  # of the pages from the root
        text = text.replace(".ipynb)", ".md)")
        path.write_text(unbroken(text), encoding="utf-8")


def unbroken(text: str) -> str:
    """Page whose lines do not break between a number and its per cent sign; code stays as it is."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = [re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", part) for part in parts[::2]]
    return "".join(parts)


def convert_notebooks() -> None:
    """Turn each notebook into Markdown, its pictures into files; nothing is run."""
    import nbformat
    from nbconvert import MarkdownExporter

    for path in PAGES.rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        resources = {"output_files_dir": f"{path.stem}_files", "unique_key": path.stem}
        body, found = MarkdownExporter().from_notebook_node(notebook, resources)
        path.with_suffix(".md").write_text(body, encoding="utf-8")
        for name, data in found.get("outputs", {}).items():
            (path.parent / name).parent.mkdir(exist_ok=True)
            (path.parent / name).write_bytes(data)
        path.unlink()


def main() -> int:
    copy_pages()
    convert_notebooks()
    program = Path(sys.executable).with_name("zensical")
    return subprocess.run([program, "build", "--strict", "--clean"], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
