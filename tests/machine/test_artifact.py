"""The build directory: written aside, read back, damage noticed."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.artifact import Artifact, ArtifactWriter, Region, build_hash
from lightmamba.hardware.machine.manifest import seal
from lightmamba.hardware.machine.program import Instruction, Op
from tests.fuzz.mutate import single_faults, with_fault
from tests.support.machine import words32

PROGRAM = [Instruction(Op.END, {})]
ARCH = Target.load("tiny").machine


def write(path: Path, **changes) -> Artifact:
    with ArtifactWriter(path, force=changes.pop("force", False)) as writer:
        writer.append("images/a.bin", b"abc")
        writer.append("images/a.bin", np.array([[100], [101]], dtype=np.uint8))
        assert writer.size("images/a.bin") == 5
        assert writer.size("images/none.bin") == 0
        return writer.finish(**_plain() | changes)


def _plain():
    regions = (
        Region("a", "aux", 0, 5, "images/a.bin"), Region("b", "aux", 4096, 7),
        Region("state", "state", 0, 64), Region("conv_state", "aux", 8192, 64),
        Region("logits", "aux", 12288, 64),
    )  # fmt: skip
    return {
        "target": Target.load("tiny"), "arch": ARCH, "order": "reordered",
        "regions": regions, "registers": {"layers": 2, "lane_base": [0, 1]},
        "program": PROGRAM, "model": {"kind": "random"},
    }  # fmt: skip


def test_write_and_read(tmp_path):
    found = write(tmp_path / "b", verilog="module top;")
    assert found == Artifact.read(tmp_path / "b")
    found.verify()
    assert found.image(found.region("a")).tobytes() == b"abcde"
    assert found.image(found.region("b")).size == 0
    assert found.image_bytes == 5
    assert found.program() == PROGRAM
    assert found.program_words() == words32(PROGRAM)
    assert found.verilog == tmp_path / "b" / "top.v"
    assert found.registers == {"layers": 2, "lane_base": [0, 1]}
    assert (found.arch, found.target) == (ARCH, Target.load("tiny"))
    assert set(found.files) == {"images/a.bin", "program.bin", "top.v"}
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["hash"] == build_hash(ARCH)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_the_hash_is_of_the_build_parameters():
    assert 0 <= build_hash(ArchConfig()) < 1 << 32
    assert build_hash(ArchConfig()) == build_hash(ArchConfig())
    assert build_hash(ArchConfig()) != build_hash(ArchConfig(heads=9))


def test_every_parameter_is_in_the_hash():
    two = ArchConfig(lanes=2, tokens=2)
    assert build_hash(replace(two, packed=True)) != build_hash(two)
    assert build_hash(replace(two, head_rows=65)) != build_hash(two)


def test_an_existing_build_is_kept_unless_forced(tmp_path):
    write(tmp_path / "b")
    with pytest.raises(InputError, match=r"exists; give another name, or --force to replace it"):
        write(tmp_path / "b")
    assert write(tmp_path / "b", order="naive", force=True).order == "naive"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_what_is_no_build_is_never_replaced(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(InputError, match="exists and is no build directory; give"):
            write(tmp_path / "b", force=force)
    assert (tmp_path / "b" / "letter.txt").read_text() == "dear"
    with pytest.raises(InputError, match=r"there is no folder .*none to write b into; make it, or"):
        write(tmp_path / "none" / "b")
    with pytest.raises(InputError, match=r"cannot write into /proc: .*; give another place"):
        write(Path("/proc/b"))


def test_mistakes_of_the_writer_show(tmp_path):
    with pytest.raises(ValueError, match="there are no registers"):
        write(tmp_path / "b", registers={"speed": 1})
    wrong = (Region("a", "aux", 0, 6, "images/a.bin"),)
    with pytest.raises(ValueError, match=r"images/a.bin has 5 bytes, but its region 6"):
        write(tmp_path / "b", regions=wrong)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path):
    found = write(tmp_path / "b")
    image = tmp_path / "b" / "images" / "a.bin"
    image.write_bytes(b"abcdf")
    with pytest.raises(InputError, match=r"a.bin has changed since it was compiled; compile again"):
        Artifact.read(tmp_path / "b")
    image.write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"a.bin is missing or has another size"):
        Artifact.read(tmp_path / "b")
    image.unlink()
    with pytest.raises(InputError, match=r"a.bin is missing or has another size"):
        Artifact.read(found.path)


def test_every_changed_entry_of_the_manifest_is_found(tmp_path):
    """Also the target's clock, rates and names, which no value of an image or register shows."""
    write(tmp_path / "b")
    manifest = tmp_path / "b" / "manifest.json"
    values = json.loads(manifest.read_text())
    faults = single_faults({name: values[name] for name in ("target", "model", "registers")})
    mutants = [json.dumps(with_fault(values, path, value)) for path, value in faults]
    changed = [text for text in mutants if text != json.dumps(values)]
    assert len(changed) > 400
    for text in changed:
        manifest.write_text(text)
        with pytest.raises(InputError, match=r"manifest.json is damaged \(.*\); compile again"):
            Artifact.read(tmp_path / "b")
    values["target"]["clock_mhz"] += 1.0
    manifest.write_text(json.dumps(values))
    with pytest.raises(InputError, match="an entry has changed since it was compiled"):
        Artifact.read(tmp_path / "b")
    values["target"]["clock_mhz"] -= 1.0
    manifest.write_text(json.dumps(values))
    Artifact.read(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"version": 1, "program": "lightmamba 9.9"},
            "is of version 1 (made by lightmamba 9.9), but this program reads 4; make it again",
        ),
        ({"arch": {"lanes": 0}}, "is damaged (arch: lanes must be in 1..64, not 0); compile again"),
        ({"arch": {"colour": 0}}, "is damaged ([arch] has no key colour; it has"),
        ({"arch": {"lanes": "4"}}, "is damaged (arch.lanes must be a whole number, not '4')"),
        ({"arch": {"lanes": 5}}, "is damaged (hash is "),
        ({"regions": [{"name": "a"}]}, "is damaged (regions.0.channel is missing"),
        ({"target": {"name": "x"}}, "is damaged (about is missing"),
        ({"files": 3}, "is damaged (files must be a table, not 3)"),
        ({"order": "sideways"}, "is damaged (order must be reordered or naive, not 'sideways')"),
        ({"order": 5}, "is damaged (order must be a text, not 5)"),
        ({"hash": 7}, "is damaged (hash is 7, but that of arch is "),
        ({"model": []}, "is damaged (model must be a table, not [])"),
        ({"model": {"file": "../secret"}}, "(model.file is '../secret', which is not among"),
        ({"model": {"file": 3}}, "(model.file must be a text, not 3)"),
        ({"registers": {"layers": True}}, "(registers.layers must be a whole number, not True)"),
        ({"registers": {"layers": "2"}}, "(registers.layers must be a whole number, not '2')"),
        (
            {"registers": {"logits_base": {"region": "state"}}},
            "registers.logits_base.channel is missing",
        ),
    ],
)
def test_a_damaged_manifest(tmp_path, change, sentence):
    refuse_manifest(tmp_path, lambda values: values.update(change), sentence)


@pytest.mark.parametrize("entry", ["target", "arch", "hash", "order", "regions", "registers",
                                   "model", "files", "sha256"])  # fmt: skip
def test_a_manifest_without_an_entry(tmp_path, entry):
    refuse_manifest(tmp_path, lambda values: values.pop(entry), f"is damaged ({entry} is missing)")


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "images/../../x", "a\\..\\b", "", ".", "..", "a/b/c"],
)
def test_names_that_lead_out_of_the_build(tmp_path, name):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"abcde")

    def lie(values):
        values["files"][name] = values["files"].pop("images/a.bin")
        values["regions"][0]["file"] = name

    refuse_manifest(tmp_path, lie, "which is no name inside a build")


@pytest.mark.parametrize(
    ("region", "change", "sentence"),
    [
        (0, {"file": "images/b.bin"}, "its file 'images/b.bin' is not among the files"),
        (0, {"file": 3}, "regions.0.file must be a text or nothing, not 3"),
        (0, {"bytes": 6}, "it has 6 bytes, but its file 5"),
        (0, {"address": 1.5}, "regions.0.address must be a whole number, not 1.5"),
        (0, {"speed": 3}, "has no key speed; it has name, channel, address, bytes, file"),
        (1, {"bytes": -1}, "region 'b': bytes is -1, expected 0 to "),
    ],
)
def test_regions_that_cannot_be(tmp_path, region, change, sentence):
    refuse_manifest(tmp_path, lambda values: values["regions"][region].update(change), sentence)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("program.bin", {"bytes": 5}, "program.bin has 5 bytes, expected 1 to 16 instructions of "),
        ("images/a.bin", {"bytes": "5"}, "files.images/a.bin.bytes must be a whole number"),
        ("images/a.bin", {"sha256": "x"}, "files.images/a.bin.sha256 must be 64 hexadecimal"),
        ("images/a.bin", {"mode": 7}, "has no key mode; it has bytes, sha256"),
    ],
)
def test_files_that_cannot_be(tmp_path, name, change, sentence):
    refuse_manifest(tmp_path, lambda values: values["files"][name].update(change), sentence)


def test_a_build_without_its_program(tmp_path):
    refuse_manifest(
        tmp_path, lambda values: values["files"].pop("program.bin"), "files lacks program.bin"
    )


def test_a_program_of_unknown_instructions(tmp_path):
    build = write(tmp_path / "b")
    program = tmp_path / "b" / "program.bin"
    program.write_bytes(b"\xff" * program.stat().st_size)
    with pytest.raises(InputError, match=r"program.bin is not a program \("):
        build.program()


def refuse_manifest(folder, lie, sentence):
    """Reading a build with a changed manifest must raise one sentence."""
    write(folder / "b")
    manifest = folder / "b" / "manifest.json"
    values = json.loads(manifest.read_text())
    lie(values)
    if "sha256" in values:
        values["sha256"] = seal(values)  # or every change would be refused for its hash alone
    manifest.write_text(json.dumps(values))
    with pytest.raises(InputError, match=re.escape(sentence)) as caught:
        Artifact.read(folder / "b")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000])
def test_no_manifest_at_all(tmp_path, text):
    write(tmp_path / "b")
    (tmp_path / "b" / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"is damaged|is of version None"):
        Artifact.read(tmp_path / "b")
    with pytest.raises(
        InputError, match="is not a build directory; make one with: lightmamba compile"
    ):
        Artifact.read(tmp_path / "none")


def test_a_build_whose_replacement_was_interrupted_is_named(tmp_path):
    write(tmp_path / "b")
    (tmp_path / ".b.x1").mkdir()
    (tmp_path / "b").rename(tmp_path / ".b.x1/old")
    with pytest.raises(InputError) as caught:
        Artifact.read(tmp_path / "b")
    said = f"the folder from before is {tmp_path}/.b.x1/old"
    assert str(caught.value).endswith(said)


def test_a_build_is_there_at_every_moment_of_its_replacement(tmp_path, monkeypatch):
    """Killed wherever a folder is renamed."""
    write(tmp_path / "b")
    rename = Path.replace

    def killed(self, target):
        if self.name.startswith(".b."):
            raise SystemExit
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    write(tmp_path / "b", order="naive", force=True)
    assert Artifact.read(tmp_path / "b").order == "naive"
