"""Register map of the host port, as data: name, access, meaning; 32 bits each, 4 bytes apart.

64-bit values take two registers, the lower word first. Offsets follow from the order.
"""

from collections.abc import Callable, Iterator
from functools import cache

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Graph
from lightmamba.arch.hardware import Client, Register
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


def _of_port(port: int) -> Count:
    return lambda config: config.tokens if port < config.state_ports else 0


KINDS = ArchConfig().kinds
MAGIC = 0x4C4D4231  # LMB1
INTERFACE = 5  # goes up when a register moves or changes its meaning

FIRST = (
    Register("magic", "ro", f"{MAGIC:#x}: LMB1"),
    Register("hash", "ro", "first 32 bits of the hash of the build parameters"),
    Register("version", "ro", f"{INTERFACE}: of this map; a host knows one of them"),
    Register("control", "rw", "bit 0 run: prefetch may begin; 0 drains and discards what was read"),
    Register("status", "ro", "bit 0 busy, 1 done, 2 drained, 3 bus error, 4 illegal instruction"),
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
    Register("program_index", "rw", "32-bit word of the program to write; counts up by itself"),
    Register("program_data", "wo", "that word"),
    Register("layers", "rw", "number of layers"),
    Register("lane_base", "rw", "address of a lane's weights", count=LANES,
             counted=lambda config: config.lanes, wide=True),
    Register("layers_beats", "rw", "weight beats of all layers, per lane"),
    Register("head_beats", "rw", "weight beats of the head, per lane"),
)  # fmt: skip
ROWS = (Register("embedding_stride", "rw", "bytes from one row of the embedding to the next"),)
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
    Register("later_row", "rw", "address of the embedding's row of each vector behind the first, "
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
    return (
        *FIRST, *_streams(graph), *ROWS, *_of(graph, "head", _heads), *_of(graph, "layer", _layers),
        *_of(graph, "growing", _growing), *_of(graph, "spread", _spread), *LOGITS,
        *_of(graph, "layer", _slots), *_of(graph, "growing", _grown),
        *_of(graph, "spread", _spread_slots), *_of(graph, "head", _copies), *PASS,
        *_of(graph, "record", _records), *graph.registers, *LAST,
    )  # fmt: skip


def _streams(graph: Graph) -> Iterator[Register]:
    """Streams of the same words for every token, and the embedding."""
    names = [*(c.name for c in graph.clients if c.shape == "static"), "embedding"]
    for name in names:
        yield Register(f"{name}_base", "rw", f"address of the {name} stream", wide=True)
    for name in names:
        yield Register(f"{name}_words", "rw", f"64-bit words of the {name} stream per token")


def _of(
    graph: Graph, shape: str, make: Callable[[Client], Iterator[Register]]
) -> Iterator[Register]:
    """Registers of the clients of a shape."""
    for client in graph.clients:
        if client.shape == shape:
            yield from make(client)


def _heads(client: Client) -> Iterator[Register]:
    yield Register("state_heads", "rw", "heads of all layers")
    yield Register("head_stride", "rw", "bytes of a head's state")
    yield Register("state_head_beats", "rw", "beats of a head's state")
    yield Register("head_words", "rw", "words of S elements of a head's state")


def _layers(client: Client) -> Iterator[Register]:
    name = client.name
    yield Register(f"{name}_layers", "rw", f"layers that have a {name}")
    yield Register(f"{name}_stride", "rw", f"bytes of a layer's {name}")
    yield Register(f"{name}_words", "rw", f"64-bit words of a layer's {name}")


def _growing(client: Client) -> Iterator[Register]:
    name = client.name
    yield Register(f"{name}_layers", "rw", f"runs of positions of the {name}, in all layers")
    yield Register(f"{name}_stride", "rw", f"bytes of a run of the {name}")
    yield Register(f"{name}_row", "rw", f"64-bit words of a position in a run of the {name}")


def _spread(client: Client) -> Iterator[Register]:
    name = client.name
    yield Register(f"{name}_base", "rw", f"address of a lane's {name}", count=LANES,
                   counted=_row_lanes, wide=True)  # fmt: skip
    yield Register(f"{name}_layers", "rw", f"layers that have a {name}")
    yield Register(f"{name}_runs", "rw", f"runs of positions of the {name} in a layer")
    yield Register(f"{name}_stride", "rw", f"bytes of a run of the {name} in a lane's channel")
    yield Register(f"{name}_words", "rw", f"64-bit words of a position in a run of the {name}, "
                   f"behind its first one")  # fmt: skip


def _slots(client: Client) -> Iterator[Register]:
    yield Register(f"slot_{client.name}", "rw", f"address of a slot's {client.name}",
                   count=MOST_TOKENS, counted=_tokens, wide=True)  # fmt: skip


def _grown(client: Client) -> Iterator[Register]:
    yield from _slots(client)
    name = client.name
    for what, doc in (
        ("words", f"64-bit words that a slot has in each layer of its {name}, of whole beats"),
        ("more", f"64-bit words that the pass adds to each layer of a slot's {name}"),
        ("positions", f"positions that a slot has in its {name}"),
    ):
        yield Register(f"slot_{name}_{what}", "rw", doc, count=MOST_TOKENS, counted=_tokens)


def _spread_slots(client: Client) -> Iterator[Register]:
    name = client.name
    for what, doc in (
        ("positions", f"positions that a slot has in its {name}"),
        ("more", f"positions that the pass adds to a slot's {name}"),
    ):
        yield Register(f"slot_{name}_{what}", "rw", doc, count=MOST_TOKENS, counted=_tokens)
    yield Register(f"{name}_segment_index", "rw", f"segment of the {name} to write, slot by slot, "
                   "of each as many as a power of two; counts up by itself")  # fmt: skip
    yield Register(f"{name}_segment_data", "wo", "where it begins behind the lanes' bases, in "
                   "pages of 4 KiB")  # fmt: skip


def _copies(client: Client) -> Iterator[Register]:
    for port in range(MOST_STATE_PORTS):
        for name, doc in (
            ("slot_read", f"address of a slot's {client.name}; a chain swaps it with `slot_write`"),
            ("slot_write", f"address where a slot's new {client.name} goes"),
        ):
            doc = f"`{name}` of port {port} of the {client.name}" if port else doc
            yield Register(of_token(name, port), "rw", doc, count=MOST_TOKENS,
                           counted=_of_port(port), wide=True)  # fmt: skip


def _records(client: Client) -> Iterator[Register]:
    def there(config: ArchConfig) -> int:
        return int(client.there is None or client.there(config))

    name = client.name
    yield Register(name, "rw", "bit 0: the pass applies vectors of a record again; bit 1: it "
                   "writes one", counted=there)  # fmt: skip
    yield Register(f"{name}_read", "rw", "address of the record that is applied", counted=there,
                   wide=True)  # fmt: skip
    yield Register(f"{name}_write", "rw", "address of the record that is written", counted=there,
                   wide=True)  # fmt: skip
    yield Register(f"{name}_layers", "rw", "layers that are recorded", counted=there)
    yield Register(f"{name}_stride", "rw", "bytes of a layer's record", counted=there)
    yield Register(f"{name}_count", "rw", "64-bit words of a layer's record", counted=there)


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
