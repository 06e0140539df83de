"""The memory side of a running model: readers and writers of its clients, ports and channels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lightmamba.arch import latency
from lightmamba.arch.clients import (
    HEAD,
    LAYER,
    LOGITS,
    MEMORY,
    SPREAD,
    STATIC,
    TABLE,
    WEIGHTS,
    Bus,
    Client,
    Owner,
)
from lightmamba.arch.contract import PAGE, WORD_BITS
from lightmamba.arch.pace import paces
from lightmamba.arch.ports import gear
from lightmamba.arch.spread import rows
from lightmamba.arch.target import Channel
from lightmamba.hardware.compiler.memory import Memory
from lightmamba.hardware.estimate.units import Walkers
from lightmamba.hardware.machine.ports import Port, chosen, clients, count, instance, ports
from lightmamba.native.events import When

__all__ = ["Entry", "MemorySide"]

Entry = dict[str, int]
Ints = NDArray[np.int64]
NEVER = 1 << 60  # commands that a reader may always carry out
FINE = 1024  # parts of a cycle in which a port keeps time


@dataclass(frozen=True)
class MemorySide:
    """Clients as a machine has them, for lanes, tokens, slots and ports.

    Parameters
    ----------
    walkers : Walkers
        Of the model that is run.
    """

    walkers: Walkers

    @cached_property
    def readers(self) -> dict[str, tuple[Client, int]]:
        """Clients that read, and for which lane, token, slot or port."""
        return self._instances("source")

    @cached_property
    def writers(self) -> dict[str, tuple[Client, int]]:
        """Clients that write, as :attr:`readers`."""
        return self._instances("target")

    def _instances(self, end: str) -> dict[str, tuple[Client, int]]:
        arch, found = self.walkers.work.arch, dict[str, tuple[Client, int]]()
        ends = {getattr(stream, end) for stream in self.walkers.streams}
        for client in clients(arch):
            if f"{MEMORY}.{client.name}" not in ends:
                continue
            if client.shape in (TABLE, WEIGHTS) and end == "target":
                continue  # indices, of which nothing is written
            there = [*range(count(arch, client))]
            if client.shape.bus == Bus.LANE:
                lanes = [n for n in self.walkers.run.lanes if n in there]
                # Writes of what is spread are few: one lane's stand for those of all.
                there = lanes if end == "source" else lanes[:1]
            found |= {instance(client, n): (client, n) for n in there}
        return found

    def adjacent(self, end: str, name: str) -> tuple[int, int]:
        """First reader ("source") or writer of a client, and how many a unit uses in step."""
        work, all_ = self.walkers.work, self.readers if end == "source" else self.writers
        mine = [n for n, (client, _) in enumerate(all_.values()) if client.name == name]
        client = list(all_.values())[mine[0]][0]
        if client.shape == LAYER:
            return mine[0], len(work.slots)
        # Rows of vectors that hold no token are read, but their logits are not written.
        return mine[0], work.tokens if client.shape == LOGITS else len(mine)

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """Ports of these clients."""
        return tuple(
            port for port in ports(self.walkers.work.arch)
            if any(name in self.readers for name in port.readers)
            or any(name in self.writers for name in port.writers)
        )  # fmt: skip

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Channels of these ports."""
        names = {port.name for port in self.ports}
        return tuple(c for c in self.walkers.work.target.channels if names & {*c.ports})

    def lists(self, queue: Mapping[str, int], unit: Mapping[str, int]) -> dict[str, list[Entry]]:
        """Entries of readers, writers, ports and channels."""
        return {
            "readers": [self._reader(name, queue) for name in self.readers],
            "writers": [self._writer(name, unit) for name in self.writers],
            "ports": [self._port(n) for n in range(len(self.ports))],
            "channels": self._channels(),
        }

    @cached_property
    def clients(self) -> Ints:
        """Numbers of the readers, port by port, in their order there."""
        order = list(self.readers)
        return np.array([order.index(name) for served in self._served for name in served], np.int64)

    @cached_property
    def _served(self) -> list[list[str]]:
        """Readers of each port."""
        return [[name for name in port.readers if name in self.readers] for port in self.ports]

    @cached_property
    def parts(self) -> list[int]:
        """Beats of a lane behind the first that a unit chooses, of each layer that has such.

        They begin with the first chosen block of a layer, and go up to that of the next one. The
        blocks that every token has count as read ahead, though hardware asks for them when their
        router begins.
        """
        found, c = list[int](), self.memory.config
        for i, layer in enumerate(c.layers):
            fixed = [each for m, each in self.memory.matrices(i) if m.blocks == 1]
            blocks = [each for m, each in self.memory.matrices(i) if m.blocks > 1]
            known = layer.taken - layer.chosen if blocks else 0
            found[-1:] = [(found or [0])[-1] + sum(fixed) + known * sum(blocks) - sum(blocks[1:])]
            if blocks:
                found.append(layer.chosen * sum(blocks) + sum(blocks[1:]))
        return found

    @cached_property
    def memory(self) -> Memory:
        """Memory of the layers that are run."""
        work = self.walkers.work
        return replace(work.memory, config=work.config.first(self.walkers.run.layers))

    def commands(self, name: str, *, read: bool) -> int:
        """Commands of a pass for what it reads or writes layer by layer, or head by head."""
        work, (client, n) = self.walkers.work, (self.readers if read else self.writers)[name]
        if client.shape == HEAD:
            return self.memory.heads * (len(work.slots) if read else work.stores)
        layers = self.memory.layers_of(client.name)
        if client.shape == SPREAD:
            return layers * self.memory.runs(client.name) * len(work.slots)
        if client.shape.owner == Owner.PASS:
            return layers * (work.replays if read else work.records)
        if client.shape == TABLE and chosen(work.arch, client):
            return layers * work.tokens
        return layers * (client.shape == LAYER and n < len(work.slots))

    def words(self, name: str, *, read: bool) -> int:
        """64-bit words of a command."""
        work, client = self.walkers.work, (self.readers if read else self.writers)[name][0]
        if client.shape == LOGITS:
            return -(-self.walkers.run.vocab // 2)
        if client.shape == STATIC:
            return sum(self.memory.words[client.name])
        return work.words(client.name) * (work.slots[0].tokens if client.shape == SPREAD else 1)

    def _port_of(self, name: str, which: str) -> tuple[int, int, bool]:
        """Number and bits of a client's port, and whether others share it."""
        n = next(n for n, port in enumerate(self.ports) if name in getattr(port, which))
        there = [c for c in getattr(self.ports[n], which) if c in getattr(self, which)]
        return n, self.ports[n].bits, len(there) > 1

    def _reader(self, name: str, queue: Mapping[str, int]) -> Entry:
        """Commands of a reader in a pass or a layer, and the room that it has for data."""
        work, (client, _) = self.walkers.work, self.readers[name]
        arch = work.arch
        port, bits, shared = self._port_of(name, "readers")
        # What the last pass of a chain has written may be read. Others begin when all is.
        waits = client.shape.owner == Owner.SEQUENCE and work.chained and name in self.writers
        found = {
            "port": port, "burst": min(arch.burst_beats, PAGE * 8 // bits),
            "words": 1, "beats": 1, "per_beat": 1, "delay": latency.READER_DATA + shared,
            "leave": -1, "most": -1, "when": When.STATE, "each": self.commands(name, read=True),
            "credit": self.commands(name, read=False) if waits else NEVER,
        }  # fmt: skip
        if client.shape == WEIGHTS:
            return found | {
                "room": arch.weight_fifo, "when": When.AHEAD,
                "segment": self.parts[0], "parts": 1, "parts_end": len(self.parts),
                "last": work.head_beats(self.walkers.run.vocab),
            }  # fmt: skip
        if client.shape == HEAD:
            ahead, behind = work.graph.client(client.name), f"{MEMORY}.{client.name}"
            back = next(s for s in self.walkers.streams if s.target == behind)
            return found | {
                "room": latency.STATE_READ_BURSTS * arch.burst_beats,
                "segment": work.memory.state_head_beats, "late": latency.STATE_WALK,
                "leave": latency.STATE_LEAVE, "most": back.depth(arch), "within": latency.QUEUE,
                "before": queue.get(ahead.name, 0), "behind": queue.get(back.name, 0),
            }  # fmt: skip
        if client.shape == SPREAD:
            return found | {
                "room": arch.row_fifo, "late": latency.SPREAD_WALK,
                "segment": rows(arch, work.words(client.name), work.positions),
            }  # fmt: skip
        words, (beats, per_beat) = self.words(name, read=True), gear(WORD_BITS, bits)
        delay = latency.WORD_READER_DATA
        when = When.STATE
        if client.shape.ahead:
            when = When.AHEAD
        elif client.shape == TABLE and chosen(arch, client):
            found["leave"] = 0  # each command when the unit has given its index
        elif client.shape == TABLE:
            when = When.BEGIN
        return found | {
            "room": arch.aux_fifo * WORD_BITS // bits, "beats": beats, "per_beat": per_beat,
            "words": words, "segment": -(-words // per_beat) * beats, "when": when,
            "delay": delay + shared,
        }  # fmt: skip

    def _writer(self, name: str, unit: Mapping[str, int]) -> Entry:
        work, (client, n) = self.walkers.work, self.writers[name]
        arch = work.arch
        port, bits, _ = self._port_of(name, "writers")
        found = {
            "port": port, "burst": min(arch.burst_beats, PAGE * 8 // bits),
            "open": latency.OUTSTANDING, "each": self.commands(name, read=False),
            "once": int(client.shape == LOGITS and n < work.tokens),
            "reader": -1,
            "unit": unit.get(f"write_{client.name}", 0),
        }  # fmt: skip
        if client.shape.owner == Owner.SEQUENCE:
            found["reader"] = list(self.readers).index(name)
        if client.shape == HEAD:
            # It reads the first copy, and writes the other one.
            return found | {
                "depth": latency.STATE_WRITE_BURSTS * arch.burst_beats, "copy": 1,
                "command": max(1, work.memory.state_head_beats),
            }  # fmt: skip
        words = self.words(name, read=False)
        depth, (beats, per_beat) = arch.aux_fifo * WORD_BITS // bits, gear(WORD_BITS, bits)
        return found | {"depth": depth, "command": max(1, -(-words // per_beat) * beats)}

    def _port(self, number: int) -> Entry:
        port, first = self.ports[number], sum(map(len, self._served[:number]))
        places = [n for n, c in enumerate(self.channels) if port.name in c.ports]
        return {
            "channel": places[0], "other": places[-1], "bytes": port.bits // 8, "readers": first,
            "readers_end": first + len(self._served[number]), "open": latency.OPEN_BURSTS,
            "step": round(FINE / (1 - self.walkers.run.stalls)),
        }  # fmt: skip

    def _channels(self) -> list[Entry]:
        target = self.walkers.work.target
        pace = dict(zip((c.name for c in target.channels),
                        paces(target.channels, target.clock_mhz), strict=True))  # fmt: skip
        found = []
        for channel in self.channels:
            beat = pace[channel.name]
            rate = Fraction(beat.bytes_per_cycle).limit_denominator(1 << 16)
            widest = max(port.bits // 8 for port in self.ports if port.name in channel.ports)
            found.append({
                "rate": rate.numerator, "cost": rate.denominator, "latency": beat.latency,
                "every": beat.refresh_every if beat.refresh_for else 0,
                "pause": beat.refresh_for, "phase": beat.refresh_phase, "turn": beat.turn,
                "limit": widest * rate.denominator + rate.numerator,
            })  # fmt: skip
        return found
