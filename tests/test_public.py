"""The outside of the project: names, imports, the pages' code and links, the recipes."""

import importlib
import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lightmamba
from lightmamba.cli.arguments import VERBS
from lightmamba.cli.main import build_parser
from lightmamba.quantization import Recipe
from tests.docs.pages import PAGES, ROOT, blocks

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(lightmamba.__path__, "lightmamba.")
    if not name.endswith("__main__")  # a program: it ends when imported
    and not name.startswith("lightmamba.native._")  # libraries that ctypes opens
]
EXTRAS = {
    "lightmamba.evaluate.lm_adapter": "lm_eval",
    "lightmamba.study.explore.files": "optuna",
    "lightmamba.study.explore.study": "optuna",
    "lightmamba.study.sweep.on_ray": "ray",
}
# Pages with a block "python no-run": it needs a kind of layers that only a copy of the project has,
# where tests/machine/test_one_more_kind.py runs it.
NO_RUN = {"docs/howto/add-a-block.md"}
SLOW = {"README.md"}  # pages whose Python blocks take longer than ten seconds; CI runs them
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#([^)]*))?\)")


def code(page: Path, *kinds: str) -> list[str]:
    """Fenced blocks of these kinds."""
    return [block.text for block in blocks(page) if block.kind in kinds]


def test_every_public_name_resolves():
    """Of modules of an extra that is not installed nothing is known."""
    missing = []
    for name in ("lightmamba", *MODULES):
        if name in EXTRAS and importlib.util.find_spec(EXTRAS[name]) is None:
            continue
        module = importlib.import_module(name)
        names = getattr(module, "__all__", [])
        assert len(names) == len(set(names)), name
        missing += [f"{name}.{public}" for public in names if not hasattr(module, public)]
    assert missing == []


def test_every_module_says_what_is_public():
    """Only folders of modules, with no name of their own, may say nothing."""
    modules = (importlib.import_module(name) for name in MODULES if name not in EXTRAS)
    for module in (each for each in modules if not hasattr(each, "__all__")):
        own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        assert all(isinstance(value, ModuleType) for value in own.values()), module.__name__


@pytest.mark.parametrize(
    ("script", "unwanted"),
    [
        ("import lightmamba", {"numpy", "torch"}),
        ("import lightmamba.cli", {"numpy", "torch", "rich"}),
        ("import lightmamba.model.qmodel", {"torch"}),
        ("import lightmamba.engine, lightmamba.text, lightmamba.evaluate", {"torch", "lm_eval"}),
        ("import lightmamba.hardware.compiler", {"torch", "amaranth"}),
    ],
)  # fmt: skip
def test_imports_are_light(script, unwanted):
    script = f"{script}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not unwanted & set(done.stdout.split())


@pytest.mark.parametrize(("set_before", "value"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_openmp_do_not_spin(monkeypatch, set_before, value):
    """The import asks for it, unless the user asked for something else."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if set_before:
        monkeypatch.setenv("OMP_WAIT_POLICY", set_before)
    script = "import os, lightmamba; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{value}\n"


def test_links_resolve():
    broken = []
    for page in PAGES:
        for target, heading in LINK.findall(page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.name} links to {target}")
            elif heading:
                text = (page.parent / target).read_text(encoding="utf-8")
                anchors = {_anchor(line) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
                if heading not in anchors:
                    broken.append(f"{page.name} links to {target}#{heading}")
    assert broken == []


def _anchor(heading: str) -> str:
    """The anchor that a heading gets on the web."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, marks=[pytest.mark.slow, pytest.mark.board] * (p.name in SLOW))
        for p in PAGES
        if code(p, "python")
    ],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_python_blocks_run(page, monkeypatch, tmp_path):
    """All those of a page one after the other, in one namespace."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {"__name__": "page"}
    for text in code(page, "python"):
        exec(compile(text, str(page), "exec"), scope)


def test_no_block_escapes():
    """Every block is of a known kind, so that none is left out because its name is misspelt."""
    assert sum(len(code(page, "python")) for page in PAGES) >= 15
    kinds = {block.kind for page in PAGES for block in blocks(page)}
    assert kinds <= {"", "python", "python no-run", "toml", "text", "bibtex"}
    assert {str(p.relative_to(ROOT)) for p in PAGES if code(p, "python no-run")} == NO_RUN


def test_recipes_on_the_pages_are_read():
    shown = [(page, text) for page in PAGES for text in code(page, "toml")]
    recipes = [(page, text) for page, text in shown if re.search(r"^name\b", text, re.MULTILINE)]
    assert recipes
    for page, text in recipes:
        assert Recipe.parse(text, page.name).passes


def test_commands_on_the_pages_are_understood():
    seen = set()
    for page in PAGES:
        for block in code(page, ""):
            joined = block.replace("\\\n", " ")
            for command in re.findall(r"^ *lightmamba (.+)$", joined, re.MULTILINE):
                words = shlex.split(re.split(r" [>|] ", command)[0], comments=True)
                parsed = build_parser().parse_args(words)
                seen.add((page.name, parsed.verb))
    assert {verb for _, verb in seen} >= VERBS.keys() - {"demo"}
    assert {verb for name, verb in seen if name == "cli.md"} >= VERBS.keys() - {"demo"}
