"""Compile: a quantized model and a target to a build directory."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from lightmamba.arch.clients import SPREAD
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler.layout import embedding_rows, lane_images
from lightmamba.hardware.compiler.memory import Memory, image
from lightmamba.hardware.compiler.plan import ORDERS, fitting, plan
from lightmamba.hardware.compiler.program import LayerNumbers, program
from lightmamba.hardware.compiler.source import describe, keep
from lightmamba.hardware.machine.artifact import Artifact, ArtifactWriter
from lightmamba.hardware.machine.ports import clients
from lightmamba.model.qmodel import QuantizedLayer, QuantizedLinear, QuantizedModel
from lightmamba.model.qmodel.synthetic import RandomLayers
from lightmamba.numerics.linear import Projection
from lightmamba.numerics.model_formats import Formats
from lightmamba.numerics.primitives import Ints

__all__ = ["build"]

ROWS = 4096  # of the embedding that are laid out at once
MOST_SEQUENCES = 4096


def build(
    model: QuantizedModel,
    target: Target,
    out: Path,
    *,
    order: str = ORDERS[0],
    hardware: ArchConfig | None = None,
    kinds: Collection[str] = (),
    context: int | None = None,
    sequences: int | None = None,
    force: bool = False,
    source: Path | None = None,
    verilog: Callable[[ArchConfig], str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Artifact:
    """Write a build directory; layers go to disk one by one.

    Parameters
    ----------
    model, target
        What runs where.
    out
        Directory to make.
    order
        Row order of in_proj: "reordered", or "naive", which needs deeper queues.
    hardware
        Build parameters of hardware that exists already, for a model as large or larger; by default
        the least that the model needs.
    kinds, context
        Of hardware that is made: as of :func:`~lightmamba.hardware.compiler.plan.plan`.
    sequences
        For how many sequences of the full context memory has room, where layers keep something of
        every token; shorter ones may be more. By default one more than a pass has tokens.
    force
        Replace a build directory that is there.
    source
        File that the model was read from, to be copied; without one the model is serialized, and
        a random one is kept as its seed.
    verilog
        Gives the machine of these build parameters in Verilog; without it there is none.
    progress
        Called with (done, total).

    Raises
    ------
    InputError
        If the hardware cannot run the model, or the directory cannot be made.
    """
    arch = plan(
        model.config, model.formats, target, order,
        kinds=kinds, context=context, hardware=hardware,
    )  # fmt: skip
    hardware = arch if hardware is None else fitting(hardware, arch)
    _plain(model)
    memory = Memory(model.config, model.formats, arch, target, _sequences(sequences, arch))
    regions = memory.regions()
    with ArtifactWriter(Path(out), force=force) as writer:
        images = _Images(writer, memory, order)
        numbers = []
        for i, layer in enumerate(model.layers):
            numbers.append(LayerNumbers.of(model, i, arch, memory.blocks(i)))
            images.layer(model.formats, i, layer)
            if progress is not None:
                progress(i + 1, model.config.n_layer + 1)
        images.rest(model)
        keep(writer, model, source)
        return writer.finish(
            target=target, arch=hardware, order=order, regions=regions,
            registers=memory.registers(regions), model=describe(model),
            program=program(model, numbers, arch, order),
            verilog=None if verilog is None else verilog(hardware),
        )  # fmt: skip


def _sequences(wanted: int | None, arch: ArchConfig) -> int:
    """Sequences of the full context that memory has room for."""
    if wanted is None:
        return arch.tokens + 1
    if not clients(arch, SPREAD):
        raise InputError(
            "no layer of this hardware keeps keys and values, so a device takes memory for "
            "sequences when it is opened; leave --sequences out"
        )
    if not 1 <= wanted <= MOST_SEQUENCES:
        raise InputError(f"--sequences must be from 1 to {MOST_SEQUENCES:,}, not {wanted:,}; try 4")
    return wanted


def _plain(model: QuantizedModel) -> None:
    """Refuse what only the comparison recipes have; a random model has none of it."""
    linears: list[tuple[str, QuantizedLinear]] = [("the head", model.head)]
    if not isinstance(model.layers, RandomLayers):
        for i, layer in enumerate(model.layers):
            linears += [(f"layers.{i}.{name}", each) for name, each in layer.linears.items()]
    for name, linear in linears:
        if not linear.plain:
            raise InputError(
                f"{name} has an input scale, an input shift or a bias, as the comparison recipes "
                f"make them, but the hardware has none; quantize with w4a4, w4a8 or w8a8"
            )


class _Images:
    """Lay out and write, part by part."""

    def __init__(self, writer: ArtifactWriter, memory: Memory, order: str) -> None:
        self.writer, self.memory, self.arch = writer, memory, memory.arch
        self.order = order

    def layer(self, formats: Formats, index: int, layer: QuantizedLayer) -> None:
        """Write weights and parameters of the next layer."""
        sizes = layer.mixer.sizes
        own = kind(sizes.kind).hardware
        rows = own.row_order(sizes, self.order)
        matrices = sizes.matrices(self.memory.config.d_model, formats)
        whole = [m for m in matrices if m.blocks == 1]
        parts = [m for m in matrices if m.blocks > 1]
        for block in range(max(m.blocks for m in matrices)):
            for m in (*(whole if block == 0 else ()), *parts):
                each = m.rows // m.blocks
                part = layer.linears[m.name].part(slice(block * each, (block + 1) * each))
                op = sizes.projection(formats, index, m.name)
                self._linear(op, part, rows if m.name == "in_proj" else None)
        for name, words in own.parameters(layer.mixer, rows).items():
            content = words.astype("<u8").view(np.uint8)
            if words.ndim > 1:  # rows of a table, each of whole beats
                content = np.pad(content, [(0, 0), (0, -content.shape[1] % self.memory.aux_beat)])
            self.writer.append(image(name), content.ravel())

    def rest(self, model: QuantizedModel) -> None:
        """Write head and embedding, and fill the streams up to whole beats."""
        self._linear(model.formats.head, model.head)
        table = model.embedding
        for at in range(0, len(table.q), ROWS):
            rows = slice(at, at + ROWS)
            part = embedding_rows(table.q[rows], table.code[rows], self.memory.stride("embedding"))
            self.writer.append(image("embedding"), part)
        for region in self.memory.regions():
            if region.file is not None:
                missing = region.bytes - self.writer.size(region.file)
                self.writer.append(region.file, bytes(missing))

    def _linear(self, op: Projection, linear: QuantizedLinear, order: Ints | None = None) -> None:
        for n, lane in enumerate(lane_images(self.arch, op, linear.q, linear.code, order)):
            self.writer.append(image(f"lane{n}"), lane)
