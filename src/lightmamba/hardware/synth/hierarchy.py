"""The Verilog of an accelerator, divided into the blocks that are synthesized separately.

Reads what Amaranth's yosys writes: one module after the other, names with dots, one instance of
every module.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Block", "Module", "blocks", "modules", "whole"]

TOP = "top"  # name of the block that holds the others
CONTAINERS = ("units", "memory")  # wiring: what they hold are blocks
# Blocks within a unit; of those with a number, one is synthesized for all.
REPEATED = re.compile(r"^(lanes|ssm)\.((lane|pair|block)\d+|kept)$")
Ports = tuple[tuple[str, int, str], ...]  # direction, width and name of each
NAME = r"(?:\\\S+(?= )|\w+)"


@dataclass(frozen=True)
class Module:
    """A module: its name as it is written, and what follows its list of ports."""

    token: str
    body: str

    @property
    def name(self) -> str:
        """Name without what Verilog needs around it."""
        return _plain(self.token)

    @cached_property
    def ports(self) -> Ports:
        """Its inputs and outputs."""
        declared = rf"^  (input|output|inout)(?: \[(\d+):0\])? ({NAME}) ?;$"
        found = re.findall(declared, self.body, re.MULTILINE)
        return tuple((way, int(high or 0) + 1, name) for way, high, name in found)

    @cached_property
    def instances(self) -> tuple[tuple[str, str], ...]:
        """Module and instance name of everything in this one."""
        found = re.findall(rf"^  ({NAME})\s+({NAME})\s*\(\n", self.body, re.M)
        return tuple(
            (_plain(module), re.sub(r"\$\d+$", "", _plain(name))) for module, name in found
        )

    @property
    def text(self) -> str:
        """The module in Verilog."""
        return f"{self._head}{self.body}endmodule\n"

    @property
    def stub(self) -> str:
        """Its ports only."""
        lines = [f"  {way} [{width - 1}:0] {name} ;" for way, width, name in self.ports]
        return "\n".join(["(* blackbox *)", self._head, *lines, "endmodule", ""])

    @property
    def _head(self) -> str:
        names = ", ".join(sorted(f"{name} " for _, _, name in self.ports))
        return f"module {self.token} ({names});\n"


@dataclass(frozen=True)
class Block:
    """Modules that are synthesized together.

    Parameters
    ----------
    name : str
        Path in the machine.
    verilog : str
        Its modules, the first named :data:`TOP`; the same text for equal blocks.
    cut : {name: ports}
        Blocks within it, of which ``verilog`` holds the ports only.
    """

    name: str
    verilog: str
    cut: Mapping[str, Ports]


def modules(verilog: str) -> dict[str, Module]:
    """All modules of a text by name."""
    found = re.finditer(
        rf"^module ({NAME}).*?\);\n(.*?)^endmodule$", verilog, re.MULTILINE | re.DOTALL
    )
    return {_plain(m[1]): Module(m[1], m[2]) for m in found}


def blocks(verilog: str, top: str) -> Iterator[Block]:
    """Cut a machine: units, memory clients, and what is repeated within a unit."""
    known = modules(verilog)

    def walk(module: str, path: str) -> Iterator[Block]:
        inside, cut = [known[module]], []
        queue = [(child, name) for child, name in known[module].instances if child in known]
        while queue:
            child, name = queue.pop(0)
            if _own(f"{path}.{name}".removeprefix(".")):
                cut.append((child, f"{path}.{name}".removeprefix(".")))
            else:
                inside.append(known[child])
                queue += [
                    (below, f"{name}.{n}") for below, n in known[child].instances if below in known
                ]
        yield _block(path or TOP, inside, [known[child] for child, _ in cut])
        for child, name in cut:
            yield from walk(child, name)

    yield from walk(top, "")


def whole(verilog: str, top: str) -> Block:
    """A machine as one block."""
    known = modules(verilog)
    others = [module for name, module in known.items() if name != top]
    return _block(TOP, [known[top], *others], [])


def _own(path: str) -> bool:
    """Whether the instance at this path is a block of its own."""
    parts = path.split(".")
    if len(parts) == 1:
        return True
    if parts[0] not in CONTAINERS:
        return False
    return len(parts) == 2 or bool(REPEATED.match(".".join(parts[1:])))


def _block(name: str, inside: list[Module], cut: list[Module]) -> Block:
    text = "".join([module.text for module in inside] + [module.stub for module in cut])
    names = {module.name: f"{TOP}{n or ''}" for n, module in enumerate([*inside, *cut])}
    for old, new in names.items():
        token = old if old.isidentifier() else f"\\{old}"
        text = re.sub(rf"(?<=\s){re.escape(token)}(?=[\s(])", new, text)
    stubs = modules(renumbered := _renumbered(text))
    return Block(
        name, renumbered, {names[module.name]: stubs[names[module.name]].ports for module in cut}
    )


def _renumbered(text: str) -> str:
    """Renumber the suffixes of names that yosys numbers across the whole machine."""
    seen: dict[str, str] = {}
    text = re.sub(r"dump_module\$\d+", "dump_module", text)
    return re.sub(r"(?<=\w)\$(\d+)", lambda m: f"${seen.setdefault(m[1], str(len(seen)))}", text)


def _plain(name: str) -> str:
    return name.removeprefix("\\").rstrip()
