"""A Tcl interpreter that knows the vendor's commands, runs a script of a package and records them.

Commands come from the list of xilinx-language-server; those of ``ipx::``, which it lacks, from the
table here. A command that is in neither, or an option that its syntax does not name, is an error.
"""

import functools
import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Call", "Vendor", "missing", "run"]

IPX = {  # of ipx::, with the options that each takes
    "add_address_block": "", "add_bus_parameter": "", "add_memory_map": "", "add_register": "",
    "add_register_parameter": "", "associate_bus_interfaces": "-busif -clock -reset -clear",
    "check_integrity": "-kernel -quiet", "create_xgui_files": "", "current_core": "",
    "get_address_blocks": "-of_objects", "get_bus_interfaces": "-of_objects",
    "get_bus_parameters": "-of_objects", "get_memory_maps": "-of_objects",
    "package_project": "-root_dir -vendor -library -taxonomy -import_files -set_current -force",
    "remove_bus_parameter": "", "save_core": "", "update_checksums": "",
}  # fmt: skip
OPTION = re.compile(r"-[a-z_]\w*")
PRELUDE = r"""
array set answers [list %(answers)s]
set record [open %(record)s w]
fconfigure $record -translation lf -encoding utf-8
proc vendor {name arguments} {
  global record answers
  puts -nonewline $record "$name"
  foreach argument $arguments { puts -nonewline $record "\x1f$argument" }
  puts -nonewline $record "\x1e"
  flush $record
  set last [lindex $arguments end]
  if {[info exists answers($name)]} { return $answers($name) }
  if {$name eq "get_property" && [info exists answers([lindex $arguments 0])]} {
    return $answers([lindex $arguments 0])
  }
  if {$name eq "launch_runs"} {
    foreach kind {bit pdi} {
      file mkdir build/project/lightmamba.runs/impl_1
      close [open build/project/lightmamba.runs/impl_1/system_wrapper.$kind w]
    }
    return
  }
  switch -glob -- $name {
    ipx::get_bus_interfaces - ipx::get_memory_maps - ipx::get_address_blocks -
    ipx::add_* - ipx::get_* { return [lindex $arguments 0] }
    make_wrapper { return system_wrapper.v }
    default { return $last }
  }
}
foreach name {%(commands)s} {
  if {[info commands ::$name] eq ""} {
    if {[string match *::* $name]} { namespace eval [namespace qualifiers $name] {} }
    proc ::$name {args} "return \[vendor $name \$args\]"
  }
}
"""


@dataclass(frozen=True)
class Call:
    """A command that a script gave to the vendor's tool."""

    name: str
    arguments: tuple[str, ...]

    def option(self, name: str) -> str | None:
        """The value after an option."""
        if name not in self.arguments:
            return None
        return self.arguments[self.arguments.index(name) + 1]

    @property
    def last(self) -> str:
        """The last argument."""
        return self.arguments[-1] if self.arguments else ""


@dataclass(frozen=True)
class Vendor:
    """The tool's side of a run.

    Parameters
    ----------
    answers : {command or property: value}
        What it says to the script; others give back the name that they were asked for.
    """

    answers: Mapping[str, str]


def missing() -> str:
    """Tools that are not installed."""
    if shutil.which("tclsh") is None:
        return "tclsh is missing: apt-get install tcl"
    if importlib.util.find_spec("xilinx_language_server") is None:
        return "the list of commands is missing: pip install xilinx-language-server"
    return ""


@functools.cache
def _syntax() -> dict[str, str]:
    """Text with the options of every command."""
    spec = importlib.util.find_spec("xilinx_language_server")
    assert spec is not None
    assert spec.origin is not None
    listed = json.loads((Path(spec.origin).parent / "assets/json/vivado.json").read_text())
    found = {
        name: text.partition("Returns:")[0].partition("Usage:")[0] for name, text in listed.items()
    }
    return found | {f"ipx::{name}": options for name, options in IPX.items()}


def run(script: Path, vendor: Vendor) -> tuple[list[Call], list[str]]:
    """Calls of a script that runs in the folder where it lies, and what is wrong with them."""
    record = script.parent / "record.bin"
    answers = " ".join(f"{{{name}}} {{{value}}}" for name, value in vendor.answers.items())
    prelude = PRELUDE % {
        "answers": answers, "record": f"{{{record}}}", "commands": " ".join(_syntax()),
    }  # fmt: skip
    start = script.parent / "start.tcl"
    start.write_text(f"{prelude}\nsource {script.name}\n")
    done = subprocess.run(
        ["tclsh", start.name], cwd=script.parent, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    problems = [done.stderr.strip().splitlines()[0]] if done.returncode else []
    calls = []
    for text in record.read_text(encoding="utf-8").split("\x1e")[:-1]:
        name, *arguments = text.split("\x1f")
        calls.append(Call(name, tuple(arguments)))
    for call in calls:
        known = set(OPTION.findall(_syntax()[call.name]))
        unknown = [a for a in call.arguments if OPTION.fullmatch(a) and a not in known]
        problems += [f"{call.name} has no option {option}" for option in unknown]
    return calls, problems
