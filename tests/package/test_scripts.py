"""The scripts for vendors' tools, byte for byte the texts that were reviewed.

No such tool is here to run them. A change of a script is a change of what users get: look at the
difference, then renew the texts with: python -m tests.package.golden
"""

import json
import re
from pathlib import Path

import jinja2
import pytest

from lightmamba.device.package import Board
from lightmamba.device.package.contents import render, templates

from .simulated import packaged_design

SCRIPTS = [
    ("u280", "kernel.tcl"),
    ("u280", "link.cfg"),
    ("kv260", "bd.tcl"),
    ("kv260", "build.tcl"),
    ("vck190", "bd.tcl"),
    ("vck190", "build.tcl"),
]
each_script = pytest.mark.parametrize(("board", "name"), SCRIPTS)


def golden(board: str, name: str) -> Path:
    """File of a text that was reviewed."""
    return Path(__file__).parent / "scripts" / board / name


@each_script
def test_a_script_is_the_one_that_was_reviewed(packages, board, name):
    assert (packages[board].path / name).read_bytes() == golden(board, name).read_bytes()


@each_script
def test_each_line_of_a_template_is_needed(packages, board, name):
    """Without a line of it, or of what it includes, the script is another one, or there is none."""
    made, sources = packaged_design(packages[board].path), templates(Board.load(board))
    expected, template = golden(board, name).read_text(), f"{name}.j2"
    assert render(sources, template, made, {}) == expected
    unseen = []
    for file in (template, *re.findall(r"{% include '(.+)' %}", sources[template])):
        lines = sources[file].splitlines(keepends=True)
        for n, line in enumerate(lines):
            shorter = sources | {file: "".join(lines[:n] + lines[n + 1 :])}
            try:
                same = render(shorter, template, made, {}) == expected
            except jinja2.TemplateError:
                same = False
            if same:
                unseen.append((file, line))
    assert unseen == []


def test_the_registers_of_a_kernel_are_those_of_its_map(packages):
    folder = packages["u280"].path
    text = (folder / "kernel.tcl").read_text()
    found = re.findall(r"^add_register (\w+) (0x\w+) (\d+) (read|write)", text, re.MULTILINE)
    said = json.loads((folder / "map.json").read_text())["registers"]
    assert [(name, int(at, 0), int(bits)) for name, at, bits, _ in found] == [
        (one["name"], one["offset"], one["bits"]) for one in said
    ]
