"""The memory map: regions, and the register values that pass their addresses to the hardware."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lightmamba.arch.clients import (
    HEAD,
    LOGITS,
    SHAPES,
    SPREAD,
    STATIC,
    TABLE,
    WEIGHTS,
    Bus,
    Client,
    Owner,
)
from lightmamba.arch.contract import EXPONENT_RUN, PAGE, WORD
from lightmamba.arch.place import Place, Region, Setting, copies
from lightmamba.arch.ports import ADDRESS_BITS, of_token
from lightmamba.arch.target import Channel
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Matrix
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler.client_sizes import ClientSizes, alike, whole
from lightmamba.hardware.compiler.layout import beats
from lightmamba.hardware.compiler.plan import LEAST_CONTEXT
from lightmamba.hardware.machine.ports import clients, count, instance
from lightmamba.hardware.machine.registers import registers

__all__ = ["Memory", "image"]

MIB = 1 << 20
ADDRESSES = {"address": 0, "last": -1}  # of the copies of a region


def image(name: str) -> str:
    """File of a region."""
    return f"images/{name}.bin"


@dataclass(frozen=True)
class Memory(ClientSizes):
    """Sizes and places of the memory of one model on one machine."""

    @property
    def state_beat(self) -> int:
        """Bytes of a beat of the ports of states that lie head by head."""
        return self.arch.state_port_bits // 8

    def matrices(self, index: int) -> Iterator[tuple[Matrix, int]]:
        """Matrices of a layer, and beats of each in each lane, or of one of its blocks."""
        sizes = self.config.layers[index]
        for m in sizes.matrices(self.config.d_model, self.formats):
            op = sizes.projection(self.formats, index, m.name)
            yield m, beats(self.arch, m.rows // m.blocks, m.columns, op)

    def layer_beats(self, index: int) -> int:
        """Beats of a layer in each lane."""
        return sum(m.blocks * each for m, each in self.matrices(index))

    @cached_property
    def read_beats(self) -> int:
        """Beats of all layers that a token reads in each lane."""
        each = (pair for i in range(self.config.n_layer) for pair in self.matrices(i))
        return sum(m.taken * beats for m, beats in each)

    def blocks(self, index: int) -> dict[str, int]:
        """Places of a layer's blocks, of which a unit chooses; nothing, if it has none."""
        parts = [(m, each) for m, each in self.matrices(index) if m.blocks > 1]
        if not parts:
            return {}
        later = any(layer.routed for layer in self.config.layers[index + 1 :])
        return {
            "first": parts[0][1],
            "whole": sum(each for _, each in parts),
            "every": sum(m.blocks * each for m, each in parts),
            "then": self._fixed(index + 1),
            "ends": int(not later),
        }

    def _fixed(self, index: int) -> int:
        """Beats from a layer on, up to the first blocks; of all layers, if there are none."""
        found = 0
        for i, layer in enumerate(self.config.layers[index:], index):
            found += sum(each for m, each in self.matrices(i) if m.blocks == 1)
            if layer.routed:
                break
        return found

    @cached_property
    def stored_beats(self) -> int:
        """Beats of all layers in each lane."""
        return sum(map(self.layer_beats, range(self.config.n_layer)))

    @cached_property
    def head_beats(self) -> int:
        """Beats of the head in each lane."""
        return beats(self.arch, self.config.vocab_size, self.arch.in_channels, self.formats.head)

    @property
    def logits_words(self) -> int:
        """64-bit words of the logits, two each."""
        return -(-self.config.vocab_size // 2)

    @property
    def logits_stride(self) -> int:
        """Bytes of the logits of one vector."""
        return whole(self.logits_words * WORD, self.aux_beat)

    @cached_property
    def _heads(self) -> tuple[int, int]:
        """Heads of all layers' states, and elements of each.

        Raises
        ------
        InputError
            If they are of different sizes.
        """
        of = [kind(layer.kind).hardware.heads(layer, self.arch) for layer in self.config.layers]
        sizes = [elements for count, elements in of if count]
        heads = sum(count for count, _ in of)
        return heads, alike(sizes, "the size of a head's state", " elements")

    @property
    def heads(self) -> int:
        """Heads of all layers' states; each begins with a beat of exponents."""
        return self._heads[0]

    @property
    def head_words(self) -> int:
        """Words of S elements of one of them."""
        return self._heads[1] // self.arch.state_elements

    @property
    def state_head_beats(self) -> int:
        """Beats of one of them on each port, those of the exponents included."""
        elements = -(-self._heads[1] // self.arch.state_ports // self.state_beat)
        return elements + -(-elements // EXPONENT_RUN)

    @property
    def state_beats(self) -> int:
        """Beats of all states on each port, those of the exponents included."""
        return self.heads * self.state_head_beats

    @property
    def states(self) -> tuple[str, ...]:
        """Regions of the state on the first port: one, or two that a token reads and writes."""
        return next((self._copies(client, 0) for client in clients(self.arch, HEAD)), ("",))

    def _copies(self, client: Client, port: int) -> tuple[str, ...]:
        """Regions of what goes through one port of the state."""
        channels = self.target.channels_of(self._port(of_token("state_read", port)))
        return copies(of_token(client.name, port))[: len(channels)]

    def _port(self, name: str) -> str:
        return "memory" if self.arch.shared_port else name

    def _wanted(self) -> Iterator[tuple[str, str, int, int, bool]]:
        """Regions: name, port, which of its channels, bytes, whether it comes from a file."""
        for shape in sorted(SHAPES, key=lambda shape: list(Bus).index(shape.bus)):
            for client in clients(self.arch, shape):
                size, kept = self.bytes_of(client), shape.owner == Owner.MODEL
                for n, names in enumerate(self._regions(client)):
                    for nth, name in enumerate(names):
                        yield name, shape.bus.port(n), nth, size, kept

    def _regions(self, client: Client) -> list[tuple[str, ...]]:
        """Regions of a client: copies on each lane or port of the state, or one."""
        ports = range(count(self.arch, client))
        if client.shape.bus == Bus.STATE:
            return [self._copies(client, port) for port in ports]
        return [(instance(client, n),) for n in (ports if client.shape.bus == Bus.LANE else (0,))]

    def bytes_of(self, client: Client) -> int:
        """Bytes of each of a client's regions."""
        name = client.name
        if client.shape == WEIGHTS:
            return (self.stored_beats + self.head_beats) * self.lane_beat
        if client.shape == SPREAD:
            return self.segments * self.segment_bytes(name)
        if client.shape == HEAD:
            return self.state_beats * self.state_beat
        if client.shape == STATIC:
            return whole(sum(self.words[name]) * WORD, self.aux_beat)
        if client.shape == LOGITS:
            return self.arch.tokens * self.logits_stride
        rows = self.rows(name) if client.shape == TABLE else self.layers_of(name)
        return rows * self.stride(name)

    def regions(self) -> tuple[Region, ...]:
        """Place everything: on each channel one after the other, from its beginning.

        Raises
        ------
        InputError
            If a channel is too small.
        """
        regions = self._placed()
        if over := self._over(regions):
            channel, size = over
            raise InputError(
                f"channel {channel.name} would hold {-(-size // MIB)} MiB, but has "
                f"{channel.capacity_mib}; take a smaller model, or a target with more memory"
                f"{self._smaller()}"
            )
        return regions

    def _placed(self) -> tuple[Region, ...]:
        """Every region, whether or not its channel has room for it."""
        free: dict[str, int] = defaultdict(int)
        regions, count = [], Counter[str]()
        for name, port, nth, size, kept in self._wanted():
            channel = self.target.channels_of(self._port(port))[nth]
            at = _next(free[channel.name], count[channel.name], channel)
            count[channel.name] += 1
            free[channel.name] = at + size
            file = image(name) if kept else None
            regions.append(Region(name, channel.name, at, size, file))
        return tuple(regions)

    def _over(self, regions: Iterable[Region]) -> tuple[Channel, int] | None:
        """First channel that is too small for its regions, and the bytes that it would hold."""
        ends: dict[str, int] = defaultdict(int)
        for region in regions:
            ends[region.channel] = max(ends[region.channel], region.address + region.bytes)
        for channel in self.target.channels:
            if channel.capacity_mib and ends[channel.name] > channel.capacity_mib * MIB:
                return channel, ends[channel.name]
        return None

    def _smaller(self) -> str:
        """Advice: the longest sequences that memory has room for, and the most of this length."""
        advice = []
        if clients(self.arch, SPREAD):
            shorter = range(LEAST_CONTEXT, self.arch.context)
            fits = _most(shorter, lambda n: self._fits(arch=replace(self.arch, context=n)))
            advice += [f"--context {fits}"] if fits else []
        if clients(self.arch, SPREAD):
            fewer = range(1, self.segments // self.arch.segments)
            fits = _most(fewer, lambda n: self._fits(sequences=n))
            advice += [f"--sequences {fits}"] if fits else []
        return f", or compile with {' or '.join(advice)}" if advice else ""

    def _fits(self, **changed: Any) -> bool:
        """Whether every channel has room for everything, with some entries changed."""
        other = replace(self, **changed)
        return other._over(other._placed()) is None

    def registers(self, regions: tuple[Region, ...]) -> dict[str, Setting]:
        """Registers that the host writes before the first pass.

        Addresses of slots are those of the first sequence; each pass writes its own.

        Raises
        ------
        InputError
            If a register cannot hold its value.
        """
        there = {each.name for each in registers(self.arch.kinds) if each.counted(self.arch)}
        base = {region.name: Place(region.channel, region.name) for region in regions}
        wanted: dict[str, Setting] = {
            "layers": self.config.n_layer,
            "lane_base": [base[f"lane{n}"] for n in range(self.arch.lanes)],
            "layers_beats": self._fixed(0),
            "head_beats": self.head_beats,
            "logits_base": base["logits"],
            "logits_words": self.logits_words,
            "logits_stride": self.logits_stride,
        }
        for client in clients(self.arch):
            wanted |= self._of_client(client, base)
        wanted |= self._of_layers()
        found = {name: value for name, value in wanted.items() if name in there}
        if (top := max(region.address + region.bytes for region in regions)) >> ADDRESS_BITS:
            raise InputError(
                f"memory would end at {top}, but addresses have {ADDRESS_BITS} bits; "
                f"take a smaller model, or a target with more lanes than {self.arch.lanes}"
            )
        for name, value in found.items():
            if isinstance(value, int) and value >> 32:
                raise InputError(
                    f"register {name} would hold {value}, but has 32 bits; "
                    f"take a smaller model or --context, or a target with more lanes than "
                    f"{self.arch.lanes}"
                )
        return found

    def _of_layers(self) -> dict[str, int]:
        """Registers of which the hardware has one for all layers of a kind; 0 if there are none."""
        own = (kind(of).hardware.graph.registers for of in self.arch.kinds)
        found: dict[str, list[int]] = {each.name: [] for some in own for each in some}
        for layer in self.config.layers:
            for name, value in kind(layer.kind).hardware.registers(layer).items():
                found[name].append(value)
        return {name: alike(values, name) for name, values in found.items()}

    def _of_client(self, client: Client, base: Mapping[str, Place]) -> dict[str, Setting]:
        """Registers of one client that are written once."""
        found: dict[str, Setting] = {}
        regions = [[base[name] for name in copies] for copies in self._regions(client)]
        for each in client.shape.registers:
            name = each.name.format(client=client.name)
            if each.value not in ADDRESSES:
                if each.value:
                    found[name] = self.number(client, each.value)
                continue
            places = [copies[ADDRESSES[each.value]] for copies in regions]
            if each.per == "port":
                found |= {of_token(name, n): [place] for n, place in enumerate(places)}
            elif each.per:
                found[name] = [*places]
            else:
                found[name] = places[0]
        return found

    def number(self, client: Client, what: str) -> int:
        """Number of a client, by its name in the registers of a shape."""
        name = client.name
        match what:
            case "layers":
                return self.layers_of(name)
            case "runs":
                return self.runs(name)
            case "stride":
                return self.stride(name)
            case "words":
                return self.each(name)
            case "rest":
                return max(0, self.each(name) - 1)
            case "total":
                return sum(self.words[name])
            case "heads":
                return self.heads
            case "head_stride":
                return self.state_head_beats * self.state_beat
            case "head_beats":
                return self.state_head_beats
            case "head_words":
                return self.head_words
        raise ValueError(f"{name}: memory has no number {what}")


def _most(values: range, fits: Callable[[int], bool]) -> int | None:
    """Largest value that fits, where all smaller ones do too; None if none does."""
    count = bisect_left(values, True, key=lambda value: not fits(value))
    return values[count - 1] if count else None


def _next(free: int, count: int, channel: Channel) -> int:
    """First address from ``free`` on for the region number ``count`` of a channel."""
    if not channel.base_step:
        return whole(free, PAGE)
    wanted = count * channel.base_step % channel.base_round
    return free + (wanted - free) % channel.base_round
