"""The memory map: regions, and the register values that pass their addresses to the hardware."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import EXPONENT_RUN, GROUP, PAGE, WORD
from lightmamba.arch.place import STATE_PORTS, Place, Region, Setting
from lightmamba.arch.ports import ADDRESS_BITS, RECORD, of_token
from lightmamba.arch.target import Channel, Target
from lightmamba.blocks import part
from lightmamba.compiler.layout import beats
from lightmamba.compiler.supported import the_layer
from lightmamba.config import ModelConfig
from lightmamba.errors import InputError
from lightmamba.machine.registers import REGISTERS

__all__ = ["Memory", "image"]


def image(name: str) -> str:
    """File of a region."""
    return f"images/{name}.bin"


@dataclass(frozen=True)
class Memory:
    """Sizes and places of the memory of one model on one machine."""

    config: ModelConfig
    arch: ArchConfig
    target: Target

    @property
    def layer(self) -> Any:
        """Sizes of each layer."""
        return the_layer(self.config)

    @property
    def layout(self) -> Any:
        """How memory holds the layers' kind."""
        return part(self.layer.kind, "layout")

    @property
    def aux_beat(self) -> int:
        """Bytes of a beat of the port for everything small."""
        return self.arch.aux_port_bits // 8

    @property
    def state_beat(self) -> int:
        """Bytes of a beat of the state's ports."""
        return self.arch.state_port_bits // 8

    @property
    def layers_beats(self) -> int:
        """Beats of all layers in each lane."""
        c, a = self.config, self.arch
        in_proj = beats(a, self.layer.in_rows, a.in_channels)
        return c.n_layer * (in_proj + beats(a, c.d_model, a.out_channels))

    @property
    def head_beats(self) -> int:
        """Beats of the head in each lane."""
        return beats(self.arch, self.config.vocab_size, self.arch.in_channels)

    @property
    def stream_words(self) -> dict[str, int]:
        """64-bit words of each stream of parameters, per layer; of a row of the embedding."""
        return {
            **self.layout.parameter_words(self.layer),
            "embedding": self.arch.in_channels // GROUP * (1 + GROUP // WORD),
        }

    @property
    def embedding_stride(self) -> int:
        """Bytes from one row of the embedding to the next."""
        return _whole(self.stream_words["embedding"] * WORD, self.aux_beat)

    @property
    def heads(self) -> int:
        """Heads of a layer's state; each begins with a beat of exponents."""
        return int(self.layout.state_heads(self.layer))

    @property
    def head_words(self) -> int:
        """Words of S elements of one of them."""
        return self._head_size // self.arch.state_elements

    @property
    def state_head_beats(self) -> int:
        """Beats of one of them on each port, those of the exponents included."""
        elements = -(-self._head_size // self.arch.state_ports // self.state_beat)
        return elements + -(-elements // EXPONENT_RUN)

    @property
    def _head_size(self) -> int:
        size = int(self.layout.state_size(self.layer, self.arch.padded_state))
        return size // self.heads

    @property
    def state_words(self) -> int:
        """Words of S elements of a layer's state."""
        return self.heads * self.head_words

    @property
    def state_beats(self) -> int:
        """Beats of a layer's state on each port, those of the exponents included."""
        return self.heads * self.state_head_beats

    @property
    def conv_words(self) -> int:
        """64-bit words of a layer's convolution state: of two channels, or of one each."""
        return int(self.layout.conv_words(self.layer, self.arch.window))

    @property
    def conv_stride(self) -> int:
        """Bytes of a layer's convolution state."""
        return _whole(self.conv_words * WORD, self.aux_beat)

    @property
    def logits_words(self) -> int:
        """64-bit words of the logits, two each."""
        return -(-self.config.vocab_size // 2)

    @property
    def logits_stride(self) -> int:
        """Bytes of the logits of one vector."""
        return _whole(self.logits_words * WORD, self.aux_beat)

    @property
    def recorded_words(self) -> int:
        """64-bit words of a layer in the record of a pass that leaves tokens undecided."""
        return int(self.layout.recorded_words(self.layer, self.arch))

    @property
    def record_stride(self) -> int:
        """Bytes of a layer's record."""
        return _whole(self.recorded_words * WORD, self.aux_beat)

    @property
    def states(self) -> tuple[str, ...]:
        """Regions of the state: one, or two that a token reads and writes in turns."""
        return self._copies(0)

    def _copies(self, port: int) -> tuple[str, ...]:
        """Regions of what goes through one port of the state."""
        channels = self.target.channels_of(self._port(of_token("state_read", port)))
        return STATE_PORTS[port][: len(channels)]

    def _port(self, name: str) -> str:
        return "memory" if self.arch.shared_port else name

    def regions(self) -> tuple[Region, ...]:
        """Place everything: on each channel one after the other, from its beginning.

        Raises
        ------
        InputError
            If a channel is too small.
        """
        c, a = self.config, self.arch
        lane = (self.layers_beats + self.head_beats) * (a.port_bits // 8)
        params = {
            name: _whole(c.n_layer * words * WORD, self.aux_beat)
            for name, words in self.stream_words.items()
            if name != "embedding"
        }
        state = c.n_layer * self.state_beats * self.state_beat
        wanted = [
            *((f"lane{n}", f"lane{n}", 0, lane, True) for n in range(a.lanes)),
            *(
                (name, of_token("state_read", port), n, state, False)
                for port in range(a.state_ports)
                for n, name in enumerate(self._copies(port))
            ),
            *((name, "aux", 0, size, True) for name, size in params.items()),
            ("embedding", "aux", 0, c.vocab_size * self.embedding_stride, True),
            ("conv_state", "aux", 0, c.n_layer * self.conv_stride, False),
            ("logits", "aux", 0, a.tokens * self.logits_stride, False),
        ]
        if a.undecided:
            wanted.append((RECORD, "aux", 0, c.n_layer * self.record_stride, False))
        free: dict[str, int] = defaultdict(int)
        regions, count = [], Counter[str]()
        for name, port, nth, size, kept in wanted:
            channel = self.target.channels_of(self._port(port))[nth]
            at = _next(free[channel.name], count[channel.name], channel)
            count[channel.name] += 1
            free[channel.name] = at + size
            file = image(name) if kept else None
            regions.append(Region(name, channel.name, at, size, file))
        for channel in self.target.channels:
            if channel.capacity_mib and free[channel.name] > channel.capacity_mib << 20:
                raise InputError(
                    f"channel {channel.name} would hold {free[channel.name] >> 20} MiB, but has "
                    f"{channel.capacity_mib}; take a smaller model, or a target with more memory"
                )
        return tuple(regions)

    def registers(self, regions: tuple[Region, ...]) -> dict[str, Setting]:
        """Registers that the host writes before the first pass.

        Addresses of slots are those of the first sequence; each pass writes its own.

        Raises
        ------
        InputError
            If a register cannot hold its value.
        """
        there = {each.name for each in REGISTERS if each.counted(self.arch)}
        base = {region.name: Place(region.channel, region.name) for region in regions}
        layers, words = self.config.n_layer, self.stream_words
        streams = {name: n * (1 if name == "embedding" else layers) for name, n in words.items()}
        wanted: dict[str, Setting] = {
            "layers": layers,
            "lane_base": [base[f"lane{n}"] for n in range(self.arch.lanes)],
            "layers_beats": self.layers_beats,
            "head_beats": self.head_beats,
            **{f"{name}_base": base[name] for name in words},
            **{f"{name}_words": count for name, count in streams.items()},
            "embedding_stride": self.embedding_stride,
            "state_heads": layers * self.heads,
            "head_stride": self.state_head_beats * self.state_beat,
            "state_head_beats": self.state_head_beats,
            "head_words": self.head_words,
            **self._slots(base),
            "conv_stride": self.conv_stride,
            "conv_state_words": self.conv_words,
            "logits_base": base["logits"],
            "logits_words": self.logits_words,
            "logits_stride": self.logits_stride,
            "record_stride": self.record_stride,
            "record_count": self.recorded_words,
            **self.layout.recorded_sizes(self.layer),
        }
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
                    f"take a smaller model, or a target with more lanes than {self.arch.lanes}"
                )
        return found

    def _slots(self, base: Mapping[str, Place]) -> dict[str, Setting]:
        """Addresses of the first slot: of its state by port, and of the convolution's."""
        found: dict[str, Setting] = {"slot_conv": [base["conv_state"]]}
        for port in range(self.arch.state_ports):
            copies = self._copies(port)
            found[of_token("slot_read", port)] = [base[copies[0]]]
            found[of_token("slot_write", port)] = [base[copies[-1]]]
        return found


def _whole(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _next(free: int, count: int, channel: Channel) -> int:
    """First address from ``free`` on for the region number ``count`` of a channel."""
    if not channel.base_step:
        return _whole(free, PAGE)
    wanted = count * channel.base_step % channel.base_round
    return free + (wanted - free) % channel.base_round
