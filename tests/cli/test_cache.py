"""``lightmamba cache``."""

import os
import time

from lightmamba.cli.arguments import CACHED


def filled(folder):
    (folder / "lightmamba/simulators/one").mkdir(parents=True)
    (folder / "lightmamba/simulators/one/simulator").write_bytes(b"x" * 3_000_000)
    (folder / "lightmamba/synthesis").mkdir()
    (folder / "lightmamba/synthesis/k").write_bytes(b"x" * 10)
    old = time.time() - 5 * 24 * 3600
    for path in sorted((folder / "lightmamba/simulators").rglob("*"), reverse=True):
        os.utime(path, (old, old))


def test_it_is_shown_and_removed(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    filled(tmp_path)
    shown = run("cache").out
    assert "3 MB" in shown
    assert "5 days ago" in shown
    found = run("cache", "--json").json
    assert found["parts"].keys() == CACHED.keys()
    assert found["parts"]["simulators"]["bytes"] == 3_000_000
    assert found["parts"]["quantized"] == {"bytes": 0, "last_used": None}
    assert found["freed_bytes"] == 0
    assert run("cache", "--clear", "simulators", "--json").json["freed_bytes"] == 3_000_000
    assert sorted(p.name for p in (tmp_path / "lightmamba").iterdir()) == ["synthesis"]
    assert run("cache", "--clear", "all", "--json").json["freed_bytes"] == 10
    assert not list((tmp_path / "lightmamba").iterdir())
    assert "choose from" in run("cache", "--clear", "everything").refusal


def test_its_parts_are_those_that_the_program_makes():
    from lightmamba.cli import hub
    from lightmamba.common import files
    from lightmamba.device.sim import library as build
    from lightmamba.hardware.synth import xcup

    assert {files.CACHE, hub.CACHE, build.CACHE, xcup.CACHE} == set(CACHED)
