"""The outside of the project: names, imports, the pages' code and links, the recipes."""

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lightmamba
from lightmamba.cli.main import VERBS, build_parser
from lightmamba.quantize import Recipe, recipe_names

ROOT = Path(__file__).parent.parent
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(lightmamba.__path__, "lightmamba.")
    if not name.endswith(("__main__", "cli.plot", "evaluate.lm_adapter"))  # extras, or a program
]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("name", ["lightmamba", *MODULES])
def test_every_public_name_resolves(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    for public in names:
        getattr(module, public)


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import lightmamba", {"numpy", "torch", "numba"}),
        ("import lightmamba.cli", {"numpy", "torch", "numba", "rich"}),
        ("import lightmamba.qmodel", {"torch", "numba"}),
        ("import lightmamba.engine, lightmamba.runtime, lightmamba.evaluate", {"torch"}),
        ("from lightmamba.cli.main import build_parser as b; b('quantize').format_help()",
         {"numpy", "torch", "numba", "rich"}),
    ],
)  # fmt: skip
def test_imports_are_light(code, unwanted):
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not unwanted & set(done.stdout.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_run_and_their_links_resolve(page, monkeypatch, tmp_path):
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": "page"}
    for block in PYTHON.findall(text):
        exec(compile(block, str(page), "exec"), scope)


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^lightmamba (.+)$", text, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        words = [w.strip('"') for w in re.findall(r'"[^"]*"|\S+', command)]
        assert build_parser(words[0]).parse_args(words).verb in VERBS


def test_every_shipped_recipe_reads_back():
    assert {"w4a4", "w4a8", "w8a8", "rtn-w4a4", "smoothquant-w4a8", "osplus-w8a8"} <= set(
        recipe_names()
    )
    for name in recipe_names():
        recipe = Recipe.load(name)
        assert recipe.name == name
        assert Recipe.parse(recipe.to_toml(), name) == recipe
