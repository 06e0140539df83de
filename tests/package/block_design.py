"""A block design as a recorded script built it: cells, properties, nets and addresses."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

from .recorder import Call

__all__ = ["BlockDesign"]


@dataclass
class BlockDesign:
    """A block design, from the calls that made it."""

    cells: dict[str, str] = field(default_factory=dict)  # name: kind
    properties: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    nets: list[tuple[str, ...]] = field(default_factory=list)
    buses: list[tuple[str, ...]] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)  # interface: kind
    addresses: list[tuple[str, str, int, int]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @staticmethod
    def of(calls: list[Call]) -> "BlockDesign":
        """Follow the calls."""
        found = BlockDesign()
        for call in calls:
            method = getattr(found, f"_{call.name}", None)
            if method is not None:
                method(call)
        return found

    def net_of(self, pin: str) -> set[str]:
        """All pins that are connected to one."""
        seen = {pin}
        while True:
            more = {p for net in self.nets if seen & set(net) for p in net} | seen
            if more == seen:
                return seen
            seen = more

    def bus_of(self, pin: str) -> list[str]:
        """The other end of an interface."""
        return [other for pair in self.buses if pin in pair for other in pair if other != pin]

    def _create_bd_cell(self, call: Call) -> None:
        if call.last in self.cells:
            self.repeated.append(call.last)
        kind = call.option("-vlnv") or f"module {call.option('-reference')}"
        self.cells[call.last] = kind

    def _create_bd_intf_port(self, call: Call) -> None:
        self.ports[call.last] = f"{call.option('-mode')} {call.option('-vlnv')}"

    def _set_property(self, call: Call) -> None:
        if call.arguments[0] == "-dict":
            words = _words(call.arguments[1])
            pairs = list(zip(words[::2], words[1::2], strict=True))
        else:
            pairs = [(call.arguments[0], call.arguments[1])]
        for name, value in pairs:
            if name in self.properties[call.last]:
                self.repeated.append(f"{call.last} {name}")
            self.properties[call.last][name] = value

    def _connect_bd_net(self, call: Call) -> None:
        self.nets.append(call.arguments)

    def _connect_bd_intf_net(self, call: Call) -> None:
        self.buses.append(call.arguments)

    def _assign_bd_address(self, call: Call) -> None:
        self.addresses.append(
            (
                str(call.option("-target_address_space")), call.last,
                int(str(call.option("-offset")), 0), int(str(call.option("-range")), 0),
            )
        )  # fmt: skip


def _words(text: str) -> list[str]:
    """Elements of a Tcl list, one level of braces taken off."""
    found, depth, word = [], 0, ""
    for char in re.sub(r"\s+", " ", text.strip()) + " ":
        if char == " " and depth == 0:
            if word:
                found.append(word[1:-1] if word.startswith("{") else word)
            word = ""
            continue
        depth += (char == "{") - (char == "}")
        word += char
    return found


def words(text: str) -> list[str]:
    """Elements of a Tcl list."""
    return _words(text)
