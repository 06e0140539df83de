"""Rows of results know whether the source that they depend on has changed."""

import pytest
from bench import sources, stored
from bench.sources import PACKAGE, SOURCES, source_hash


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module, whose hash is not remembered."""
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    monkeypatch.setitem(SOURCES, "engine", ("engine",))
    (tmp_path / "engine").mkdir()

    def written(text, name="run.py"):
        (tmp_path / "engine" / name).write_text(text)
        source_hash.cache_clear()
        sources._content.cache_clear()
        return source_hash("engine")

    yield written
    source_hash.cache_clear()
    sources._content.cache_clear()


def test_prose_and_layout_do_not_count_and_code_does(package):
    first = package('"""Doc."""\n\ndef f(x):\n    """Twice."""\n    return 2 * x  # double\n')
    assert package("def f(x):\n    return (2 *\n        x)\n") == first
    assert package("def f(x):\n    return 3 * x\n") != first
    refusing = package('def f(x):\n    raise ValueError("no")\n')
    assert package('def f(x):\n    raise ValueError("not this")\n') == refusing
    assert package("def f(x):\n    return None\n") != refusing


def test_comments_of_a_kernel_do_not_count(package):
    first = package("int f() {\n    return 2;\n}\n", "kernel.hpp")
    assert package("int f() {\n    // Always.\n    return 2;  // not 3\n}\n", "kernel.hpp") == first
    assert package("int f() {\n    return 3;\n}\n", "kernel.hpp") != first


def test_every_part_is_there():
    for name, parts in SOURCES.items():
        for part in parts:
            assert (PACKAGE / part).exists(), (name, part)


def test_a_table_says_that_its_source_has_changed(package, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "RESULTS", tmp_path / "results")
    package("x = 1\n")
    stored.keep("evaluation", {"model": "a", "ratio": 1.0})
    assert "changed" not in stored.foot(stored.rows("evaluation"))
    package("x = 2\n")
    stored.keep("evaluation", {"model": "b", "ratio": 1.0})
    found = stored.rows("evaluation")
    assert [row["made"]["outdated"] for row in found] == [True, False]
    assert stored.foot(found).endswith("The source of 1 of 2 rows has changed since.\n")


def test_hardware_of_a_kind_counts_for_hardware_alone(package, monkeypatch):
    def hashes():
        source_hash.cache_clear()
        sources._content.cache_clear()
        return source_hash("engine"), source_hash("simulation")

    for name in ("engine", "simulation"):
        monkeypatch.setitem(SOURCES, name, ("blocks",))
    folder = sources.PACKAGE / "blocks/kind"
    folder.mkdir(parents=True)
    for name in ("arithmetic", "hardware"):
        (folder / f"{name}.py").write_text("a = 1\n")
    engine, simulation = hashes()
    (folder / "hardware.py").write_text("a = 2\n")
    assert hashes()[0] == engine
    assert hashes()[1] != simulation
    (folder / "arithmetic.py").write_text("a = 2\n")
    assert hashes()[0] != engine
