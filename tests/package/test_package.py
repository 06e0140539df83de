"""The folder as a whole: the same bytes again, what it refuses, its own checks, its hash."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.common.files import sha256_of
from lightmamba.device.package import Board, board_names, write_package
from lightmamba.device.package.check import CHECKS, MANIFEST, check
from lightmamba.device.package.vendor import core_verilog, wrapper
from lightmamba.device.package.write import expected
from lightmamba.hardware.compiler import build
from lightmamba.hardware.machine.artifact import Artifact
from lightmamba.hardware.synth.hierarchy import modules
from tests.support.builders import random_model

from ..sim.machines import CONFIG
from .boards import BOARDS, built, packaged, small
from .simulated import packaged_design

ROOT = Path(__file__).parents[2]
# Of the MANIFEST of each package, less what depends on the version of numpy or amaranth: a change
# here is a change of what users get. Renew it with: python -m tests.package.golden
GOLDEN = Path(__file__).parent / "golden.json"


def test_every_board_has_a_target():
    assert board_names() == sorted((*BOARDS, "ulx3s"))
    for name in board_names():
        board, target = Board.load(name), Target.load(name)
        assert {m.channel for m in board.memories} == {c.name for c in target.channels}
        for channel in target.channels:
            (memory,) = [one for one in board.memories if one.channel == channel.name]
            sizes = [window.bytes for window in memory.windows]
            assert sum(sizes) >= min(channel.capacity_mib << 20, 6 << 30)


@pytest.mark.parametrize("board", BOARDS)
def test_the_same_bytes_again(packages, tmp_path, board):
    again = packaged(tmp_path, board)
    first, second = packages[board].path / MANIFEST, again.path / MANIFEST
    assert first.read_bytes() == second.read_bytes()
    for line in first.read_text().splitlines():
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((again.path / name).read_bytes()).hexdigest() == digest
    listed = {line.split("  ", 1)[1] for line in first.read_text().splitlines()}
    assert set(again.files) == listed | {MANIFEST}
    assert list(again.files) == sorted(again.files)


@pytest.mark.parametrize("board", BOARDS)
def test_nothing_of_this_computer_is_in_it(packages, board):
    """No path, no name of a user, no date."""
    import datetime
    import getpass
    import socket

    words = [str(Path.home()), "/tmp/", str(datetime.date.today().year) + "-", socket.gethostname()]
    words += [getpass.getuser() + "@"]
    for path in packages[board].path.rglob("*"):
        if path.suffix in (".tcl", ".json", ".md", ".cfg", ".dtsi", ".sh", ".py", ".bif") or (
            path.name in ("Makefile", "wrapper.v")
        ):
            text = path.read_text()
            assert not [word for word in words if word in text], path


@pytest.mark.parametrize("board", BOARDS)
def test_the_checks_pass_and_coreutils_agrees(packages, board):
    package = packages[board]
    assert package.checks == dict.fromkeys(CHECKS[Board.load(board).flow], True)
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", MANIFEST], cwd=package.path, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Generated, never run" in (package.path / "README.md").read_text().replace("**", "")


def test_the_driver_computes_results_that_a_package_does_not_have(packages, tmp_path):
    """As those of a large random model; a program in the place of ours shows its words."""
    folder, own = tmp_path / "package", tmp_path / "lightmamba"
    shutil.copytree(packages["kv260"].path, folder)
    own.mkdir()
    (own / "__init__.py").touch()
    (own / "__main__.py").write_text("import sys; print(*sys.argv[1:])")
    command = [sys.executable, folder / "driver/run.py", "--test"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    results, manifest = folder / "driver/expected.json", folder / MANIFEST
    for without in (False, True):
        if without:
            before = sha256_of(results)
            results.write_text(json.dumps(json.loads(results.read_text()) | {"self_test": None}))
            manifest.write_text(manifest.read_text().replace(before, sha256_of(results)))
        said = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        words = [] if without else ["--expected", str(results)]
        data = str(folder / "data")
        assert said.stdout.split() == ["selftest", data, "--device", "uio", *words]


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ["driver/expected.json", "data/manifest.json", "MANIFEST.sha256"])
def test_the_driver_refuses_files_that_are_not_as_packaged(packages, tmp_path, name, listed):
    """Changed ones, and ones that the list of hashes leaves out."""
    folder = tmp_path / "package"
    shutil.copytree(packages["kv260"].path, folder)
    command = [sys.executable, folder / "driver/run.py", "--help"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    if name == MANIFEST:
        (folder / name).unlink()
    elif not listed:
        lines = (folder / MANIFEST).read_text().splitlines(keepends=True)
        (folder / MANIFEST).write_text("".join(line for line in lines if name not in line))
    else:
        (folder / name).write_text((folder / name).read_text().replace("1", "2", 1))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{folder / name} is not as it was packaged; copy the package again\n"


def test_the_data_are_a_build(packages):
    folder = packages["kv260"].path / "data"
    artifact = Artifact.read(folder)
    artifact.verify()
    assert artifact.verilog is None
    original = Artifact.read(packages["kv260"].path.parent / "build-kv260")
    assert artifact.fingerprint == original.fingerprint
    assert artifact.registers == original.registers


BREAKS = {  # file, what is replaced, by what; one for each check that can fail by a file
    "connectivity": ("link.cfg", "m_axi_aux:DDR[0]", "m_axi_aux:DDR[1]"),
    "regions": ("map.json", ' 0,\n   "bytes": 31424', ' 9999,\n   "bytes": 31424'),
    "registers": ("map.json", '"token",\n   "offset": 24', '"token",\n   "offset": 28'),
    "hashes": ("README.md", "lightmamba", "Lightmamba"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_a_check_fails_when_a_file_is_wrong(packages, tmp_path, name):
    folder = tmp_path / "broken"
    shutil.copytree(packages["u280"].path, folder)
    file, old, new = BREAKS[name]
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    found = check(packaged_design(folder), folder)
    assert not found[name]
    others = {one for one, passed in found.items() if not passed} - {name, "hashes"}
    assert others == set()


def test_a_window_that_is_missed(packages):
    made = packaged_design(packages["kv260"].path)
    from lightmamba.device.package.design import windows

    (block,) = made.blocks
    assert windows(made, {"ddr4": 0x8_0000_0000})
    assert not windows(made, {"ddr4": 0x8_0000_1000})  # lanes would share banks
    assert not windows(made, {"ddr4": 0x8000_0000})
    assert not windows(made, {"ddr4": 0x8_8000_0000 - block.bytes // 65536 * 65536})


@pytest.mark.parametrize(
    ("target", "board"),
    [("u280", "kv260"), ("kv260", "vck190"), ("u280", "u55c"), ("u55c", "u280")],
)
def test_builds_for_other_boards_are_refused(tmp_path, target, board):
    artifact = built(tmp_path, target)
    with pytest.raises(InputError) as refusal:
        write_package(artifact, Board.load(board), tmp_path / "p")
    said = str(refusal.value)
    assert f"was compiled for target {target}, not for {board}" in said
    assert f"lightmamba compile MODEL --target {board} -o BUILD" in said
    assert not (tmp_path / "p").exists()


def test_a_target_explored_from_a_boards_is_taken(tmp_path):
    from dataclasses import replace

    target = replace(small("kv260"), name="kv260-p01", clock_mhz=250.0)
    build(random_model(CONFIG), target, tmp_path / "b")
    found = write_package(Artifact.read(tmp_path / "b"), Board.load("kv260"), tmp_path / "p")
    assert all(found.checks.values())
    assert "FREQMHZ {250}" in (found.path / "bd.tcl").read_text()


@pytest.mark.slow
def test_the_readme_of_several_tokens_tells_their_speeds(tmp_path):
    from dataclasses import replace

    target = small("kv260")
    target = replace(target, machine=replace(target.machine, tokens=2))
    build(random_model(CONFIG), target, tmp_path / "b")
    found = write_package(Artifact.read(tmp_path / "b"), Board.load("kv260"), tmp_path / "p")
    told = (found.path / "README.md").read_text()
    for row in ("greedy, one sequence", "of a prompt, 2 at a time", "of 2 sequences together"):
        assert f"{row} | " in told


def test_long_bursts_are_refused_where_a_port_does_not_take_them(tmp_path):
    from dataclasses import replace

    target = small("kv260")
    machine = replace(target.machine, burst_beats=32, aux_fifo=256)
    build(random_model(CONFIG), replace(target, machine=machine), tmp_path / "b")
    with pytest.raises(InputError, match="bursts of 32 beats are too long for kv260; compile with"):
        write_package(Artifact.read(tmp_path / "b"), Board.load("kv260"), tmp_path / "p")


def test_a_damaged_build_is_refused(tmp_path):
    artifact = built(tmp_path, "u280")
    image = artifact.path / "images/lane0.bin"
    image.write_bytes(bytes(len(image.read_bytes())))
    with pytest.raises(InputError, match="has changed since it was compiled"):
        write_package(artifact, Board.load("u280"), tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_what_is_there_is_kept_unless_forced(tmp_path, monkeypatch):
    artifact, board = built(tmp_path, "kv260"), Board.load("kv260")
    (tmp_path / "notes").mkdir()
    with pytest.raises(InputError, match="exists and is no package; give another name"):
        write_package(artifact, board, tmp_path / "notes", force=True)
    write_package(artifact, board, tmp_path / "p")
    with pytest.raises(InputError, match="--force to replace it"):
        write_package(artifact, board, tmp_path / "p")
    (tmp_path / "p/old").touch()
    write_package(artifact, board, tmp_path / "p", force=True)
    assert not (tmp_path / "p/old").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["build-kv260", "notes", "p"]
    with pytest.raises(InputError, match="there is no folder"):
        write_package(artifact, board, tmp_path / "none/p")
    (tmp_path / "p/old").touch()
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", no_space)
        with pytest.raises(InputError, match=r"cannot write .*/p: No space .*; nothing was repl"):
            write_package(artifact, board, tmp_path / "p", force=True)
    assert (tmp_path / "p/old").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["build-kv260", "notes", "p"]


def no_space(*_args, **_options):
    """Fail as a write does on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_large_random_model_has_no_expected_tokens(tmp_path, monkeypatch):
    """To make its weights again would take longer than all the rest."""
    monkeypatch.setattr("lightmamba.device.package.write.LARGEST", 1000)
    build(random_model(CONFIG, lazy=True), small("u280"), tmp_path / "b")
    artifact = Artifact.read(tmp_path / "b")
    found = expected(artifact)
    assert found["steps"] == []
    assert found["self_test"] is None


def test_a_build_with_other_pins_is_refused(packages):
    made = packaged_design(packages["u280"].path)
    verilog = (packages["u280"].path / "rtl/lightmamba.v").read_text()
    names = [name for *_, name in modules(verilog)["lightmamba_core"].ports]
    wrapper(made, names)
    for other in ([*names, "extra"], [name for name in names if name != "aux__bready"]):
        with pytest.raises(ValueError, match=r"do not fit: \['(extra|aux__bready)'\]"):
            wrapper(made, other)


def test_verilog_without_its_top_module():
    with pytest.raises(ValueError, match="has no top module lightmamba"):
        core_verilog("module other(a);\nendmodule\n")
    assert core_verilog("module lightmamba(a);") == "module lightmamba_core(a);"


def test_a_package_brings_its_licence_and_names_that_of_its_model(packages, tmp_path):
    folder = packages["kv260"].path
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    origin = {"source": {"name": "someone/a-model", "licence": "mit"}}
    models = {
        "    someone/a-model\n    licence: mit\n": replace(random_model(CONFIG), origin=origin),
        "not name its source\n    licence: not named by": replace(random_model(CONFIG), origin={}),
        "    random weights, drawn by LightMamba;": random_model(CONFIG, lazy=True),
    }
    for sentence, model in models.items():
        build(model, small("kv260"), tmp_path / "b", force=True)
        made = write_package(
            Artifact.read(tmp_path / "b"), Board.load("kv260"), tmp_path / "p", force=True
        )
        assert sentence in (made.path / "NOTICE").read_text()


def stable(folder: Path) -> str:
    """Hash of the files of a package that depend on nothing but this repository."""
    kept = []
    for line in (folder / MANIFEST).read_text().splitlines():
        name = line.split("  ", 1)[1]
        if not name.startswith("data/") and name not in (
            "rtl/lightmamba.v", "driver/expected.json", "map.json", "README.md",
        ):  # fmt: skip
            kept.append(line)
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()


@pytest.mark.parametrize("board", BOARDS)
def test_golden(packages, board):
    """Scripts, wrapper, connectivity and device trees are those that were reviewed."""
    assert stable(packages[board].path) == json.loads(GOLDEN.read_text())[board]


@pytest.mark.parametrize("board", BOARDS)
def test_size_without_data(packages, board):
    """The package adds little to the build that it holds."""
    own = [p for p in packages[board].path.rglob("*") if p.is_file() and "data" not in p.parts]
    assert sum(p.stat().st_size for p in own if p.name != "lightmamba.v") < 200_000
