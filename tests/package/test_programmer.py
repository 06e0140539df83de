"""``lightmamba program`` with a stand-in of openFPGALoader."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightmamba.common.errors import DeviceError, InputError
from lightmamba.device.package import program

STAND_IN = """#!/bin/sh
echo "$*" >"{calls}"
{body}
"""
NO_BOARD = """printf 'Jtag frequency : requested 6.00MHz\\n'
printf 'unable to open ftdi device: -3 (device not found)\\n' >&2
printf '\\033[31mJTAG init failed with: unable to open ftdi device\\033[0m\\n' >&2
exit 1"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As much of a package as is looked at."""
    found = tmp_path / "package"
    found.mkdir()
    (found / "map.json").write_text(json.dumps({"board": "ulx3s"}))
    (found / "lightmamba.bit").write_bytes(bytes(100))
    return found


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program in the place of openFPGALoader; the file of its arguments."""

    def put(body: str) -> Path:
        programs, calls = tmp_path / "bin", tmp_path / "calls"
        programs.mkdir(exist_ok=True)
        (programs / "openFPGALoader").write_text(STAND_IN.format(calls=calls, body=body))
        (programs / "openFPGALoader").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        return calls

    return put


def test_it_is_loaded_or_written_to_flash(folder, loader):
    calls = loader("echo 'Loading: [====] 100.00%'")
    assert program(folder) == folder / "lightmamba.bit"
    assert calls.read_text() == f"-b ulx3s {folder}/lightmamba.bit\n"
    program(folder, flash=True)
    assert calls.read_text() == f"-b ulx3s -f {folder}/lightmamba.bit\n"


def test_what_the_loader_says_is_passed_on(folder, loader):
    loader(NO_BOARD)
    with pytest.raises(DeviceError) as refusal:
        program(folder)
    assert str(refusal.value) == (
        "openFPGALoader failed with status 1: unable to open ftdi device: -3 (device not found), "
        "JTAG init failed with: unable to open ftdi device; is the board plugged in at its port "
        "US1? For the right to use it: sudo usermod -a -G plugdev,dialout $USER, then log in again"
    )
    loader("exit 5")
    with pytest.raises(DeviceError, match="status 5: no message; is the board"):
        program(folder)


def test_refusals(folder, loader, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="not here; install it with: apt-get install openfpgaload"):
        program(folder)
    (folder / "lightmamba.bit").unlink()
    with pytest.raises(
        InputError, match=r"no lightmamba.bit yet; build it with: make -C .*package"
    ):
        program(folder)
    (folder / "map.json").write_text(json.dumps({"board": "kv260"}))
    with pytest.raises(InputError, match=r"is for kv260, and openFPGALoader loads ulx3s only"):
        program(folder)
    for damaged in ("[1", "[1]", "{}"):
        (folder / "map.json").write_text(damaged)
        with pytest.raises(InputError, match=r"map\.json is damaged; copy the package again"):
            program(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="is no package; make one with: lightmamba package BUILD"):
        program(folder)
