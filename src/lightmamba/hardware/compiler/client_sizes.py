"""Sizes of the clients of memory: what one model keeps in each, on one machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from lightmamba.arch.clients import RECORD, SPREAD, STATIC, Client
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import GROUP, WORD
from lightmamba.arch.place import Region
from lightmamba.arch.spread import rows, segment_bytes
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.ports import clients
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats

__all__ = ["ClientSizes", "alike", "whole"]


@dataclass(frozen=True)
class ClientSizes:
    """Words, runs and segments of the clients of one model on one machine."""

    config: ModelConfig
    formats: Formats
    arch: ArchConfig
    target: Target
    sequences: int = 0  # as long as they may be, of those that grow by segments; 0: T + 1

    @property
    def aux_beat(self) -> int:
        """Bytes of a beat of the port for everything small."""
        return self.arch.aux_port_bits // 8

    @property
    def lane_beat(self) -> int:
        """Bytes of a beat of a lane's port."""
        return self.arch.port_bits // 8

    @cached_property
    def words(self) -> Mapping[str, tuple[int, ...]]:
        """64-bit words of each client in each layer that has it; of a table, of each row.

        Of what grows with its sequences, of a position in each run.
        """
        found: dict[str, list[int]] = {client.name: [] for client in clients(self.arch)}
        found["embedding"].append(self.arch.in_channels // GROUP * (1 + GROUP // WORD))
        for layer in self.config.layers:
            for name, count in self._counted(layer).items():
                if name in found:
                    found[name].append(count)
        return {name: tuple(counts) for name, counts in found.items()}

    def _counted(self, layer: Sizes) -> dict[str, int]:
        """Words of a layer's clients: what its kind says, or else the items of their streams."""
        own, graph = kind(layer.kind).hardware, machine(self.arch.kinds)
        sizes, runs = own.job_sizes(layer, self.arch), own.runs(layer)
        found = {
            client.name: graph.client(client.name).count(sizes) // runs.get(client.name, 1)
            for client in own.graph.clients
            if client.shape in (STATIC, SPREAD, RECORD)
        }
        return found | own.words(layer, self.arch)

    def rows(self, client: str) -> int:
        """Rows of a table, of all layers."""
        if client == "embedding":
            return self.config.vocab_size
        of_layers = (kind(layer.kind).hardware.runs(layer) for layer in self.config.layers)
        return sum(runs.get(client, 0) for runs in of_layers)

    def runs(self, client: str) -> int:
        """Runs of positions of a client in each layer that has it.

        Raises
        ------
        InputError
            If layers differ.
        """
        each = (kind(layer.kind).hardware.runs(layer) for layer in self.config.layers)
        found = [runs[client] for runs in each if client in runs]
        return alike(found, f"the runs of their {self._named(client)}")

    def each(self, client: str) -> int:
        """Words per layer, which must be the same in all layers.

        Raises
        ------
        InputError
            If they are not.
        """
        what = f"the size of their {self._named(client)}"
        return alike(self.words[client], what, " words of 64 bits")

    def stride(self, client: str) -> int:
        """Bytes of a layer's part of a client, or of a row of a table.

        Of what grows those of a run, in a segment on each channel.
        """
        if self._of_name(client).shape.grows:
            positions = min(self.arch.segment, self.arch.context)
            return rows(self.arch, self.each(client), positions) * self.lane_beat
        return whole(self.each(client) * WORD, self.aux_beat)

    def segment_bytes(self, client: str) -> int:
        """Bytes of a segment on each channel."""
        return segment_bytes(self.layers_of(client) * self.runs(client), self.stride(client))

    def like(self, regions: Iterable[Region]) -> Self:
        """Sizes for as many sequences as some regions have room for."""
        sizes = {region.name: region.bytes for region in regions}
        for client in clients(self.arch, SPREAD):
            each = self.arch.segments * self.segment_bytes(client.name)
            if each and client.name in sizes:
                return replace(self, sequences=sizes[client.name] // each)
        return self

    @property
    def segments(self) -> int:
        """Segments by which all sequences grow."""
        return (self.sequences or self.arch.tokens + 1) * self.arch.segments

    def layers_of(self, client: str) -> int:
        """Layers that have a client."""
        return len(self.words[client])

    def _named(self, client: str) -> str:
        """Name of a client, and what it is."""
        return f"{client} ({self._of_name(client).doc})"

    def _of_name(self, name: str) -> Client:
        return next(each for each in clients(self.arch) if each.name == name)


def alike(values: Iterable[int], what: str, unit: str = "") -> int:
    """The one value that all layers have; 0 of none.

    Raises
    ------
    InputError
        If they differ.
    """
    found = set(values)
    if len(found) > 1:
        raise InputError(
            f"layers differ in {what}, {min(found)} and {max(found)}{unit}, but the hardware takes "
            f"equal ones; run the model on the engine"
        )
    return found.pop() if found else 0


def whole(size: int, unit: int) -> int:
    """Bytes of whole units."""
    return -(-size // unit) * unit
