"""Register map of the host port, as data: name, access, meaning; 32 bits each, 4 bytes apart.

64-bit values take two registers, the lower word first. Offsets follow from the order.
"""

from collections.abc import Callable, Iterator
from functools import cache

from lightmamba.arch.clients import SHAPES, Bus, Client, Entry, Group
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Graph
from lightmamba.arch.hardware import Register
from lightmamba.arch.ports import of_token
from lightmamba.hardware.machine.kinds import machine

__all__ = ["INTERFACE", "MAGIC", "Register", "named", "offsets", "registers", "table"]

Count = Callable[[ArchConfig], int]
LANES, MOST_TOKENS, MOST_STATE_PORTS = 64, 8, 4  # that there may be


def _tokens(config: ArchConfig) -> int:
    return config.tokens


def _row_lanes(config: ArchConfig) -> int:
    return config.row_lanes


def _chosen(config: ArchConfig) -> int:
    """Nothing of a pass is left to choose where it is one token."""
    return config.tokens if config.tokens > 1 else 0


def _later(config: ArchConfig) -> int:
    return config.tokens - 1


def _listed(config: ArchConfig) -> int:
    return int(config.steps > 1)


def _counted(config: ArchConfig) -> int:
    return int(config.counters)


def _there(client: Client) -> Count:
    return lambda config: int(client.there is None or client.there(config))


def _of_port(port: int) -> Count:
    return lambda config: config.tokens if port < config.state_ports else 0


KINDS = ArchConfig().kinds
MAGIC = 0x4C4D4231  # LMB1
INTERFACE = 6  # goes up when a register moves or changes its meaning

FIRST = (
    Register("magic", "ro", f"{MAGIC:#x}: LMB1"),
    Register("hash", "ro", "first 32 bits of the hash of the build parameters"),
    Register("version", "ro", f"{INTERFACE}: of this map; a host knows one of them"),
    Register("control", "rw", "bit 0 run: prefetch may begin; 0 drains, discards what was read and "
             "clears bus faults"),
    Register("status", "ro", "bit 0 busy, 1 done, 2 drained, 3 bus fault, 4 illegal instruction"),
    Register("interrupt", "rw", "bit 0 enable; writing bit 1 acknowledges done"),
    Register("token", "rw", "token id of the next start"),
    Register("start", "wo", "bit 0 fresh, bit 1 logits wanted: runs one pass"),
    Register("chain", "rw", "tokens that follow a start, each the last one's arg-max"),
    Register("position", "rw", "tokens that the first slot's state has seen before the next start, "
             "for the dither"),
    Register("next", "ro", "arg-max of the last logits"),
    Register("cycles", "ro", "cycles of all passes since the reset", wide=True),
    Register("finished", "ro", "tokens finished since the last start"),
    Register("units", "ro", "bit n: unit n has work, in the order of the commands' table"),
    Register("fault", "ro", "first bus fault: bits 0 to 2 kind, 8 to 15 side of a port, 16 up id"),
    Register("fault_page", "ro", "page of 4 KiB that was asked for last at that side of that port"),
    Register("program_index", "rw", "32-bit word of the program to write; counts up by itself"),
    Register("program_data", "wo", "that word"),
    Register("layers", "rw", "number of layers"),
    Register("lane_base", "rw", "address of a lane's weights", count=LANES,
             counted=lambda config: config.lanes, wide=True),
    Register("layers_beats", "rw", "weight beats of all layers, per lane"),
    Register("head_beats", "rw", "weight beats of the head, per lane"),
)  # fmt: skip
LOGITS = (
    Register("logits_base", "rw", "address where logits are written", wide=True),
    Register("logits_words", "rw", "64-bit words of the logits"),
    Register("counter_index", "rw", "counter to read", counted=_counted),
    Register("counter_value", "ro", "that counter", counted=_counted, wide=True),
)
# Contents of a pass, each register only where hardware has a choice.
PASS = (
    Register("vector", "rw", "vector of a pass: VECTOR of `arch/passes.py`", count=MOST_TOKENS,
             counted=_chosen),
    Register("later_row", "rw", "address of the embedding's row of each vector after the first, "
             "whose id is `token`", count=MOST_TOKENS - 1, counted=_later, wide=True),
    Register("later_next", "ro", "arg-max of the last logits of each of them",
             count=MOST_TOKENS - 1, counted=_later),
    Register("slot", "rw", "slot of a pass: SLOT of `arch/passes.py`", count=MOST_TOKENS,
             counted=_chosen),
    Register("step_index", "rw", "step of the state-space unit to write; counts up by itself",
             counted=_listed),
    Register("step_data", "wo", "that step: STEP of `arch/passes.py`", counted=_listed),
    Register("last_step", "rw", "steps of a pass, less one", counted=_listed),
)  # fmt: skip
LAST = (
    Register("logits_stride", "rw", "bytes from the logits of one vector to those of the next",
             counted=lambda config: min(1, _later(config))),
)  # fmt: skip


@cache
def registers(kinds: tuple[str, ...] = KINDS) -> tuple[Register, ...]:
    """The map of the machine of some kinds of layers, in the order of the offsets."""
    graph = machine(kinds)
    of = {group: tuple(_of(graph, group)) for group in Group}
    return (
        *FIRST, *of[Group.BASE], *of[Group.WORDS], *of[Group.LAYOUT], *LOGITS, *of[Group.SLOT],
        *of[Group.COPY], *PASS, *of[Group.RECORD], *graph.registers, *LAST,
    )  # fmt: skip


def _of(graph: Graph, group: Group) -> Iterator[Register]:
    """Registers of clients in one place of the map, shape by shape."""
    for shape in SHAPES:
        for client in (each for each in graph.clients if each.shape == shape):
            mine = [entry for entry in shape.registers if entry.group == group]
            for port in range(MOST_STATE_PORTS if shape.bus == Bus.STATE else 1):
                for entry in mine:
                    if port == 0 or entry.per == "port":
                        yield _register(client, entry, port)


def _register(client: Client, entry: Entry, port: int) -> Register:
    name, doc = (text.format(client=client.name) for text in (entry.name, entry.doc))
    if port:
        name, doc = of_token(name, port), f"`{name}` of port {port} of the {client.name}"
    count, counted = {
        "lane": (LANES, _row_lanes),
        "slot": (MOST_TOKENS, _tokens),
        "port": (MOST_TOKENS, _of_port(port)),
        "": (1, _there(client)),
    }[entry.per]
    return Register(name, entry.access, doc, count, counted, entry.wide)


@cache
def named(kinds: tuple[str, ...] = KINDS) -> dict[str, Register]:
    """Registers by name."""
    return {register.name: register for register in registers(kinds)}


@cache
def offsets(kinds: tuple[str, ...] = KINDS) -> dict[str, int]:
    """Byte offset of each register (of the first, where there may be several)."""
    found, at = {}, 0
    for register in registers(kinds):
        found[register.name] = at
        at += 4 * register.count * (1 + register.wide)
    return found


def table(kinds: tuple[str, ...] = KINDS) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the documentation: offset, name, access, meaning."""
    for register, at in zip(registers(kinds), offsets(kinds).values(), strict=True):
        name = register.name + (f"[{register.count}]" if register.count > 1 else "")
        yield f"{at:#05x}", name, register.access, register.doc
