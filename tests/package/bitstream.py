"""Compare what is packed into a bitstream of an ECP5 with the netlist that was routed.

nextpnr writes both from its own memory: a netlist with the place of each cell and the route of each
net, which is simulated, and the bits of the tiles as text (``.config``), which ecppack packs. They
must say the same: arcs, tables of LUTs, flip-flops, block RAM and its contents. Settings of pins,
PLL and clock buffers are not compared. Connections without a bit are looked up in Project Trellis'
database of tiles.
"""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lightmamba.common.errors import InputError

__all__ = ["Counts", "Fixed", "database", "differences"]

DEVICE = "LFE5U-85F"
OWN = "85K_"  # before a wire that only the tiles of this size of device have

Place = tuple[int, int]  # column, row
Wire = tuple[Place, str]
Arc = tuple[Place, Wire, Wire]  # of a tile, to a wire, from another
LETTERS, SLICES = "ABCD", "ABCD"
FROM_HERE = re.compile(r"((?:[NSEW]\d+)+)_(.*)")
PIP = re.compile(r"X(\d+)/Y(\d+)/(-?\d+)_(-?\d+)_(.*)->(-?\d+)_(-?\d+)_(.*)")
SITE = re.compile(r"X(\d+)/Y(\d+)/(\w+)(?:\.(\w+?)(\d))?$")
WORD_BITS = 9  # of a block RAM


@dataclass
class Counts:
    """Numbers of what was compared."""

    arcs: int = 0
    fixed: int = 0
    pins: int = 0
    luts: int = 0
    flip_flops: int = 0
    memories: int = 0


@dataclass
class Config:
    """Text that ecppack packs."""

    arcs: set[Arc] = field(default_factory=set)
    settings: dict[tuple[Place, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    memories: dict[int, list[int]] = field(default_factory=dict)

    @staticmethod
    def read(text: str) -> "Config":
        """Parse it."""
        found, place, memory = Config(), None, None
        for line in text.splitlines():
            words = line.split()
            if not words:
                continue
            if words[0].startswith("."):
                place, memory = None, None
                if words[0] in (".tile", ".tile_group") and (
                    at := re.search(r"R(\d+)C(\d+)", words[1])
                ):
                    place = int(at[2]), int(at[1])
                elif words[0] == ".bram_init":
                    memory = found.memories.setdefault(int(words[1]), [])
            elif memory is not None:
                memory += [int(word, 16) for word in words]
            elif place and words[0] == "arc:":
                found.arcs.add((place, _relative(place, words[1]), _relative(place, words[2])))
            elif place and words[0] in ("word:", "enum:"):
                found.settings[place, words[1]].add(words[2])  # some are there twice
        return found


def _relative(place: Place, name: str) -> Wire:
    """Wire by its name in a tile, such as E1_H02E0001: that of the next tile to the east."""
    x, y = place
    if found := FROM_HERE.match(name):
        for way, far in re.findall(r"([NSEW])(\d+)", found[1]):
            x += int(far) * ((way == "E") - (way == "W"))
            y += int(far) * ((way == "S") - (way == "N"))
        name = found[2]
    return _wire((x, y), name)


def _wire(place: Place, name: str) -> Wire:
    """Wires of the whole chip have no place."""
    return ((0, 0) if name.startswith("G_") else place), name


def _routes(module: Mapping[str, Any]) -> dict[Arc, str]:
    """Net of each pip that the routed netlist uses."""
    found = {}
    for name, net in module["netnames"].items():
        for pip in net["attributes"].get("ROUTING", "").split(";")[1::3]:
            if at := PIP.match(pip):
                x, y = int(at[1]), int(at[2])
                source = _wire((x + int(at[3]), y + int(at[4])), at[5])
                sink = _wire((x + int(at[6]), y + int(at[7])), at[8])
                found[(x, y), sink, source] = name
    return found


def database() -> Path:
    """Trellis' database of tiles, next to its program.

    Raises
    ------
    InputError
        If there is none.
    """
    program = shutil.which("ecppack")
    folder = Path(program).resolve().parents[1] / "share/trellis/database" if program else None
    if folder is None or not folder.is_dir():
        raise InputError("Trellis' database is missing: apt-get install fpga-trellis")
    return folder


class Fixed:
    """Connections of tiles without a bit, from Trellis' database."""

    def __init__(self, folder: Path, device: str = DEVICE) -> None:
        self.folder = folder / "ECP5"
        grid = json.loads((self.folder / device / "tilegrid.json").read_text())
        self.kinds = defaultdict[Place, list[str]](list)
        self._of, self._named = cache(self._found), cache(self._lines)
        for name, tile in grid.items():
            if at := re.search(r"R(\d+)C(\d+)", name):
                self.kinds[int(at[2]), int(at[1])].append(tile["type"])

    def has(self, arc: Arc) -> bool:
        """Whether a tile at the place connects them, or inputs of a LUT trade places."""
        place, sink, source = arc
        (_, to), (_, of) = sink, source
        if re.fullmatch(r"[ABCD]\d_SLICE", to) and re.fullmatch(rf"[ABCD]{to[1]}", of):
            return True
        return any((sink, source) in self._of(kind, place) for kind in self.kinds[place])

    def _found(self, kind: str, place: Place) -> set[tuple[Wire, Wire]]:
        return {(_relative(place, to), _relative(place, of)) for to, of in self._named(kind)}

    def _lines(self, kind: str) -> list[tuple[str, str]]:
        file = self.folder / "tiledata" / kind / "bits.db"
        lines = file.read_text().splitlines() if file.is_file() else []
        words = [line.split() for line in lines if line.startswith(".fixed_conn")]
        return [(line[1], line[2].removeprefix(OWN)) for line in words]


def differences(
    config: str, module: Mapping[str, Any], fixed: Fixed, counts: Counts | None = None
) -> Iterator[str]:
    """Differences between the bits of the tiles and a routed module, one sentence each.

    Parameters
    ----------
    config
        Text that ecppack packs.
    module
        Top module of the netlist that nextpnr wrote.
    fixed
        Connections without bits.
    counts
        Filled with what was compared, if given.
    """
    bits, counts = Config.read(config), counts or Counts()
    routes = _routes(module)
    yield from _arcs(bits, routes, fixed, counts)
    sources = {sink: source[1] for (_, sink, source) in routes}
    cells = list(module["cells"].values())
    yield from _pins(routes, module, counts)
    yield from _luts(bits, cells, sources, counts)
    yield from _flip_flops(bits, cells, sources, counts)
    yield from _memories(bits, cells, counts)


def _arcs(bits: Config, routes: Mapping[Arc, str], fixed: Fixed, counts: Counts) -> Iterator[str]:
    for place, sink, source in sorted(bits.arcs - routes.keys()):
        if re.fullmatch(r"G_DCS\dCLK\d", sink[1]) and source[1] == "G_VPFN0000":  # not in use
            continue
        yield f"tile {place} connects {source} to {sink}, which no net does"
    for arc in sorted(routes.keys() - bits.arcs):
        if fixed.has(arc):
            counts.fixed += 1
        else:
            yield f"net {routes[arc]} connects {arc[2]} to {arc[1]}, which tile {arc[0]} does not"
    counts.arcs += len(bits.arcs & routes.keys())


def _site(cell: Mapping[str, Any]) -> tuple[Place, str, int]:
    """Place of a cell, its slice, and its number there."""
    found = SITE.match(cell["attributes"]["NEXTPNR_BEL"])
    assert found is not None, cell["attributes"]
    return (int(found[1]), int(found[2])), found[3], int(found[5] or 0)


def _pins(routes: Mapping[Arc, str], module: Mapping[str, Any], counts: Counts) -> Iterator[str]:
    """Whether the route of each net goes from the pin that drives it to all others."""
    nets = {net["bits"][0]: name for name, net in module["netnames"].items()}
    before = defaultdict[str, dict[Wire, Wire]](dict)
    for (_, sink, source), net in routes.items():
        before[net][sink] = source
    drivers, users = dict[str, Wire](), list[tuple[str, Wire]]()
    for cell in module["cells"].values():
        for pin, connected in cell["connections"].items():
            if connected and (wire := _pin(cell, pin)):
                net = nets[connected[0]]
                if cell["port_directions"][pin] == "output":
                    drivers[net] = wire
                else:
                    users.append((net, wire))
    for net, wire in users:
        at, steps = wire, before[net]
        while at in steps:
            at = steps[at]
        if net in drivers and at != drivers[net]:
            yield f"net {net}: its route leads to {wire} from {at}, not from {drivers[net]}"
        counts.pins += net in drivers


def _pin(cell: Mapping[str, Any], pin: str) -> Wire | None:
    """Wire of a pin of a LUT, a flip-flop or a block RAM; None of others."""
    kind = cell["type"]
    if kind not in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD"):
        return None
    place, name, n = _site(cell)
    if kind == "DP16KD":
        return place, f"J{pin}_EBR"
    number = SLICES.index(name[-1])
    if kind == "TRELLIS_FF" and pin in ("CE", "LSR", "CLK"):
        return place, f"{pin}{number}_SLICE"
    if pin in (*LETTERS, "F") if kind == "TRELLIS_COMB" else pin in ("Q", "DI", "M"):
        return place, f"{pin}{2 * number + n}_SLICE"
    return None


def _said(bits: Config, place: Place, wanted: Mapping[str, str], cell: str) -> Iterator[str]:
    for name, value in wanted.items():
        if (found := bits.settings.get((place, name), set())) != {value}:
            said = " and ".join(sorted(found)) or "missing"
            yield f"{cell} at {place}: {name} is {said}, not {value}"


def _others(bits: Config, ending: str, known: set[tuple[Place, str]], cell: str) -> Iterator[str]:
    """Settings with an ending that are of no cell."""
    for place, setting in bits.settings:
        if setting.endswith(ending) and (place, setting) not in known:
            yield f"tile {place} has {setting}, which no {cell} has"


def _luts(
    bits: Config, cells: Sequence[Mapping[str, Any]], sources: Mapping[Wire, str], counts: Counts
) -> Iterator[str]:
    known = set()
    for cell in (cell for cell in cells if cell["type"] == "TRELLIS_COMB"):
        place, name, n = _site(cell)
        parameters, at = cell["parameters"], 2 * SLICES.index(name[-1]) + n
        mode, table = parameters.get("MODE", "LOGIC"), parameters["INITVAL"]
        known.add((place, f"{name}.K{n}.INIT"))
        if mode == "RAMW_BLOCK":  # its wires are the address and data of the two LUTs that store
            yield from _said(bits, place, {f"{name}.MODE": "RAMW"}, "LUT")
            continue
        if mode != "DPRAM":
            pins = [sources.get((place, f"{p}{at}_SLICE")) for p in LETTERS]
            table = _permuted(table, pins, halves=mode == "CCU2")
        wanted = {f"{name}.K{n}.INIT": table, f"{name}.MODE": mode}
        if mode == "CCU2":
            wanted[f"{name}.CCU2.INJECT1_{n}"] = parameters["CCU2_INJECT1"]
        yield from _said(bits, place, wanted, "LUT")
        counts.luts += 1
    yield from _others(bits, ".INIT", known, "LUT")


def _permuted(table: str, pins: Sequence[str | None], *, halves: bool) -> str:
    """Table of a LUT by its wires, of one by its inputs and the wire that comes to each.

    An input without a wire is 0; in a carry chain it is one with the wires of its half that nothing
    comes to, which are 1.
    """
    carried = [[n for n, pin in enumerate(pins) if pin and pin[0] == wire] for wire in LETTERS]
    for wire, inputs in enumerate(carried):
        if halves and not inputs:
            inputs += [n for n in range(4) if n // 2 == wire // 2 and pins[n] is None]
    found = ""
    for wires in range(16):
        on = {n for wire, inputs in enumerate(carried) if wires >> wire & 1 for n in inputs}
        found = table[::-1][sum(1 << n for n in on)] + found
    return found


def _flip_flops(
    bits: Config, cells: Sequence[Mapping[str, Any]], sources: Mapping[Wire, str], counts: Counts
) -> Iterator[str]:
    known = set()
    for cell in (cell for cell in cells if cell["type"] == "TRELLIS_FF"):
        place, name, n = _site(cell)
        has, number = cell["parameters"], SLICES.index(name[-1])
        clock = sources[place, sources[place, f"CLK{number}_SLICE"]]
        wanted = {
            f"{name}.REG{n}.SD": has["SD"].strip(),
            f"{name}.REG{n}.REGSET": has["REGSET"],
            f"{name}.GSR": has["GSR"],
            f"{name}.CEMUX": has["CEMUX"].strip(),
            f"{clock}.CLKMUX": has["CLKMUX"],
        }
        if (reset := sources.get((place, f"LSR{number}_SLICE"))) is not None:
            line = sources[place, reset]
            wanted |= {f"{line}.LSRMUX": has["LSRMUX"], f"{line}.SRMODE": has["SRMODE"]}
        yield from _said(bits, place, wanted, "flip-flop")
        known.add((place, f"{name}.REG{n}.SD"))
        counts.flip_flops += 1
    yield from _others(bits, ".SD", known, "flip-flop")


def _memories(bits: Config, cells: Sequence[Mapping[str, Any]], counts: Counts) -> Iterator[str]:
    known = set()
    for cell in (cell for cell in cells if cell["type"] == "DP16KD"):
        place, name, _ = _site(cell)
        if len(numbers := bits.settings.get((place, f"{name}.WID"), ())) != 1:
            yield f"block RAM at {place}: its tile has {len(numbers)} of {name}.WID"
            continue
        known.add(where := int(next(iter(numbers))[::-1], 2))
        found, wanted = bits.memories.get(where, []), _contents(cell["parameters"])
        if found != wanted:
            yield f"block RAM at {place}: contents {where} are not those of the cell"
        for key, value in cell["parameters"].items():
            value = str(int(value, 2)) if re.fullmatch("[01]{32}", value) else value.strip()
            if value.startswith("0b"):  # stored inverted
                value = "".join("10"[int(bit)] for bit in value[2:])
            for setting in (f"{name}.{key}", f"{name}.DP16KD.{key}"):
                if (place, setting) in bits.settings:
                    yield from _said(bits, place, {setting: value}, "block RAM")
        counts.memories += 1
    for where in sorted(bits.memories.keys() - known):
        yield f"contents {where} belong to no block RAM"


def _contents(parameters: Mapping[str, str]) -> list[int]:
    """Words of nine bits: 16 pairs in each of 64 parameters, each pair in 20 bits."""
    found = []
    for n in range(64):
        text = parameters.get(f"INITVAL_{n:02X}", "").rjust(320, "0")[::-1]
        for at in range(0, 320, 20):
            found += [int(text[at + k : at + k + WORD_BITS][::-1], 2) for k in (0, WORD_BITS)]
    return found
