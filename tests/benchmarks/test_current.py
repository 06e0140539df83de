"""Figures know whether what they measured is as it was."""

import pytest
from bench import figures, identity
from bench.common import ROOT
from bench.figures import CURRENT, DIFFERS, OLDER, runs, shown, state
from bench.stored import BENCHMARKS, MADE, rows

SOURCE = '"""Doc."""\n\ndef f(x):\n    """Twice."""\n    return 2 * x  # double\n'


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """Hash of a package of one module with the given text."""
    monkeypatch.setattr(identity, "PACKAGE", tmp_path)
    (tmp_path / "rtl").mkdir()

    def of(text, name="unit.py"):
        (tmp_path / "rtl" / name).write_text(text)
        identity.source_hash.cache_clear()
        return identity.source_hash(("rtl/*",))

    yield of
    identity.source_hash.cache_clear()


def test_prose_and_layout_do_not_count_and_code_does(hashed):
    first = hashed(SOURCE)
    assert hashed("def f(x):\n    return (2 *\n        x)\n") == first
    assert hashed(SOURCE.replace("2 *", "3 *")) != first
    refusing = hashed('def f(x):\n    raise ValueError("no")\n')
    assert hashed('def f(x):\n    raise ValueError("not this")\n') == refusing
    assert hashed("def f(x):\n    return None\n") != refusing


def test_where_a_module_imports_from_does_not_count(hashed):
    text = SOURCE + "\nfrom lightmamba.{} import errors\nfrom numpy import {}\n"
    first = hashed(text.format("sim", "sin"))
    assert hashed(text.format("device.sim", "sin")) == first
    assert hashed(text.format("sim", "cos")) != first


def test_comments_of_cpp_do_not_count(hashed):
    first = hashed("int f() {\n    return 2;\n}\n", "memory.hpp")
    assert hashed("int f() {\n    // Always.\n    return 2;  // not 3\n}\n", "memory.hpp") == first
    assert hashed("int f() {\n    return 3;\n}\n", "memory.hpp") != first


def test_comments_of_yosys_do_not_count(hashed):
    first = hashed("# As it was.\nsynth_ecp5 -top harness\n", "ecp5.ys")
    assert hashed("# As it is.\nsynth_ecp5 -top harness\n", "ecp5.ys") == first
    assert hashed("# As it is.\nsynth_ecp5 -top other\n", "ecp5.ys") != first


@pytest.fixture
def row(monkeypatch):
    made = {"benchmark": "full", "how": "simulated", "commit": "abc", "hardware": "1"}
    monkeypatch.setattr(figures, "identity_of", lambda name: lambda row: row["now"])
    return {"name": "a", "now": "1", MADE: made}


def test_a_figure_of_hardware_is_current_by_its_hash(row):
    assert state(row) == CURRENT
    assert state(row | {"now": "2"}) == DIFFERS
    del row[MADE]["hardware"]
    assert state(row) == OLDER


def test_another_figure_is_current_by_the_code_of_its_commit(monkeypatch):
    file = "src/lightmamba/numerics/linear.py"
    made = {"benchmark": "drift", "how": "measured", "commit": "abc"}
    said = {"cat-file": "commit"}
    monkeypatch.setattr(figures, "git", lambda *words: said[words[0]])

    def now(before, change=f"M\t{file}"):
        said["show"], said["diff"] = before, change
        figures._changed.cache_clear()
        return state({MADE: made})

    text = (ROOT / file).read_text()
    assert now(text) == CURRENT
    assert now('"""Another docstring."""\n' + text.partition('"""\n')[2]) == CURRENT
    assert now(text + "NEW = 1\n") == OLDER
    moved = f"R090\tsrc/lightmamba/old.py\t{file}"
    assert now(text, moved) == CURRENT
    assert now(text + "NEW = 1\n", moved) == OLDER
    assert now("", f"A\t{file}") == OLDER
    assert now("", "A\tsrc/lightmamba/numerics/__init__.py") == CURRENT  # a docstring
    assert now(text, "D\tsrc/lightmamba/numerics/old.py") == OLDER
    assert now(text, "D\tsrc/lightmamba/cli/old.py") == CURRENT
    assert now("", "R099\tsrc/lightmamba/a.xz\tsrc/lightmamba/model/data/a.xz") == OLDER
    assert now("", "R100\tsrc/lightmamba/a.xz\tsrc/lightmamba/model/data/a.xz") == CURRENT
    said["cat-file"] = ""
    assert now(text) == OLDER
    figures._changed.cache_clear()


def test_every_row_has_a_command_that_makes_it_again():
    for name in BENCHMARKS:
        for run in runs(rows(name)):
            assert all(isinstance(word, str) for word in run.words), run.words
            assert (ROOT / f"{run.words[0].replace('.', '/')}.py").is_file()


def test_rows_of_a_page_are_found_by_its_tables():
    found = shown(["speed-summary"])
    assert {row[MADE]["benchmark"] for row in found} == {"full", "ulx3s_run", "engine"}


def test_a_check_fails_where_a_figure_is_not_current(monkeypatch):
    monkeypatch.setattr(figures, "state", lambda row: CURRENT)
    assert figures.main(["--check", "README.md"]) == 0
    monkeypatch.setattr(figures, "state", lambda row: OLDER)
    assert figures.main(["--check", "README.md"]) == 1
    assert figures.main(["--dry", "README.md"]) == 0


def test_changes_that_are_not_committed_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(figures, "changed_since", lambda commit: True)
    monkeypatch.setattr(figures, "report", lambda page, each: each)
    assert figures.main(["README.md"]) == 2
    assert "changes that are not committed" in capsys.readouterr().err
    assert figures.main(["docs/nothing.md"]) == 2
    assert "docs/nothing.md has no tables" in capsys.readouterr().err
