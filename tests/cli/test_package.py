"""``lightmamba package``."""

import json

import pytest

pytest.importorskip("amaranth", reason="the RTL needs the extra 'rtl'")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build for the U280 of a small accelerator."""
    from tests.package.boards import built

    return built(tmp_path_factory.mktemp("package"), "u280").path


def test_a_package(run, build, tmp_path):
    out = tmp_path / "p"
    found = run("package", build, "--board", "u280", "-o", out, "--json").json
    assert {"package", "board", "files", "checks", "tools"} <= set(found)
    assert (found["package"], found["board"]) == (str(out), "u280")
    assert found["files"] == sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()
    )
    assert set(found["checks"].values()) == {True}
    assert found["tools"]["Vitis"] == ["2022.2", "2023.1", "2023.2"]
    assert found["seconds"] < 60
    said = run("package", build, "--board", "u280", "-o", out, "--force")
    assert (said.status, said.out) == (0, f"{out}\n")
    assert "connectivity" in said.err


def test_a_check_that_fails_is_an_exit_status(run, build, tmp_path, monkeypatch):
    monkeypatch.setattr("lightmamba.device.package.write.check", lambda *_: {"ports": False})
    said = run("package", build, "--board", "u280", "-o", tmp_path / "p", "--json")
    assert said.status == 1
    assert json.loads(said.out)["checks"] == {"ports": False}


def test_a_bitstream_is_loaded(run, tmp_path, monkeypatch):
    """By a stand-in of openFPGALoader."""
    loader = tmp_path / "openFPGALoader"
    loader.write_text("#!/bin/sh\nexit $STATUS\n")
    loader.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "p").mkdir()
    (tmp_path / "p/map.json").write_text('{"board": "ulx3s"}')
    file = tmp_path / "p/lightmamba.bit"
    file.write_bytes(bytes(99))
    found = run("program", tmp_path / "p", "--flash", "--json").json
    assert (found["bitstream"], found["bytes"], found["flash"]) == (str(file), 99, True)
    said = run("program", tmp_path / "p")
    assert (said.status, said.out) == (0, f"{file}\n")
    monkeypatch.setenv("STATUS", "1")
    said = run("program", tmp_path / "p")
    assert (said.status, said.out) == (1, "")
    assert "openFPGALoader failed with status 1: no message" in said.err
