"""The program of one token: the commands of every unit, with all numbers of the model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lightmamba.arch.clients import TABLE
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.graph import Graph
from lightmamba.blocks import kind
from lightmamba.blocks.layer import Sizes, out_channels
from lightmamba.common.errors import InputError
from lightmamba.hardware.machine.kinds import machine
from lightmamba.hardware.machine.program import Condition, Instruction, Op, instructions
from lightmamba.hardware.machine.spine import ROWS, SECTIONS
from lightmamba.model.config import ModelConfig
from lightmamba.model.qmodel import QuantizedLinear, QuantizedModel
from lightmamba.numerics.linear import Projection

__all__ = ["LayerNumbers", "LinearNumbers", "program"]

Commands = dict[str, dict[str, int]]


@dataclass(frozen=True)
class LinearNumbers:
    """Static numbers of a projection."""

    act_base: int
    acc_shift: int
    split: bool = False  # its weights are two beats
    twice: bool = False  # its activations come in two halves
    wide: bool = False  # they have the head's format

    @staticmethod
    def of(linear: QuantizedLinear, op: Projection, arch: ArchConfig) -> "LinearNumbers":
        """Numbers of one projection."""
        return LinearNumbers(
            linear.act_base, linear.acc_shift, arch.beats(op) > 1, arch.twice(op),
            op.act.bits > arch.act_bits,
        )  # fmt: skip


@dataclass(frozen=True)
class LayerNumbers:
    """Parts of a layer that the program needs: all but its matrices."""

    sizes: Sizes
    in_proj: LinearNumbers
    out_proj: LinearNumbers
    mixer: Commands  # of the units between them
    in_shifts: dict[str, int]  # of the rows of in_proj, by section
    out_shift: int

    @staticmethod
    def of(model: QuantizedModel, index: int, arch: ArchConfig) -> "LayerNumbers":
        """Numbers of one layer."""
        layer, f = model.layers[index], model.formats
        sizes, shifts = layer.mixer.sizes, model.in_shift(layer)
        commands = kind(sizes.kind).hardware.commands(layer.mixer, model.formats, arch)
        return LayerNumbers(
            sizes,
            LinearNumbers.of(layer.in_proj, f.of(index, "in_proj"), arch),
            LinearNumbers.of(layer.out_proj, f.of(index, "out_proj"), arch),
            _placed(commands, model.config, index),
            {name: int(shifts[rows.start]) for name, rows in sizes.sections().items()},
            model.out_shift(layer),
        )


def program(
    model: QuantizedModel, layers: Sequence[LayerNumbers], arch: ArchConfig, order: str
) -> list[Instruction]:
    """Instructions of a token.

    Parameters
    ----------
    model
        Its layers are not looked at.
    layers
        Their numbers, in order.
    arch, order
        The machine, and the row order of in_proj.

    Raises
    ------
    InputError
        If a number does not fit its field.
    """
    writer = _Writer(model, arch, order)
    entering = [layer.in_proj for layer in layers]
    coded = instructions(arch.kinds, wide=arch.wide)
    found = [Instruction(Op.EMBED, writer.embed(entering[0]))]
    head = replace(LinearNumbers.of(model.head, model.formats.head, arch), wide=True)
    for layer, then in zip(layers, [*entering[1:], None], strict=True):
        found.append(Instruction(coded.in_proj(layer.sizes.kind), writer.in_proj(layer)))
        if then is not None:
            found.append(Instruction(Op.OUT, writer.out_proj(layer, then)))
            continue
        found.append(Instruction(Op.OUT, writer.out_proj(layer, head, head=True), Condition.HEAD))
        last = writer.out_proj(layer, None)
        found.append(Instruction(Op.LAST_OUT, last, Condition.NO_HEAD))
    found += [Instruction(Op.HEAD, writer.head(head), Condition.HEAD), Instruction(Op.END, {})]
    for instruction in found:
        try:
            coded.encode(instruction)
        except ValueError as error:
            raise InputError(f"the program cannot say this model: {error}") from error
    return found


class _Writer:
    """Commands of each instruction."""

    def __init__(self, model: QuantizedModel, arch: ArchConfig, order: str) -> None:
        self.model, self.arch, self.order = model, arch, order
        self.config, self.graph = model.config, machine(arch.kinds)

    def embed(self, then: LinearNumbers) -> Commands:
        model, d_model = self.model, self.config.d_model
        return {
            "embed": {
                "count": d_model,
                "groups": self.arch.in_channels // model.formats.group,
                "shift": model.residual_exp - model.embedding.base,
            },
            "residual": {"count": d_model, "add": 0, "emit": 1},
            **self._pass_on(then, head=False),
        }

    def in_proj(self, layer: LayerNumbers) -> Commands:
        channels = out_channels(layer.sizes, self.model.formats)
        rows = kind(layer.sizes.kind).hardware.graph.rows
        shifts = [layer.in_shifts.get(row.name, 0) for row in rows]
        commands: Commands = {
            "lanes": self._lanes(layer.sizes.in_rows, self.arch.in_channels, layer.in_proj),
            "epilogue": self._epilogue(
                kind(layer.sizes.kind).hardware.in_sections(layer.sizes, self.order),
                layer.in_proj.acc_shift, shifts, narrow=1,
            ),
            **layer.mixer,
            "quant_out": {
                "count": channels, "pad": 0, "base": layer.out_proj.act_base,
                "head": int(layer.out_proj.wide),
            },
        }  # fmt: skip
        return self._chosen(commands, layer.sizes.kind)

    def _chosen(self, commands: Commands, of: str = "") -> Commands:
        """Commands with the source that a kind of layers selects, where a port has several."""
        own = kind(of).hardware.graph.streams if of else ()
        mine = {stream.name for stream in own}
        found = dict(commands)
        for target in dict.fromkeys(stream.target for stream in self.graph.streams):
            unit, port = target.split(".")
            streams = self.graph.choices(target)
            if len(streams) > 1 and unit in found:
                here = [n for n, stream in enumerate(streams) if stream.name in mine]
                found[unit] = found[unit] | {f"{port}_from": here[0] if here else 0}
        return found

    def out_proj(
        self, layer: LayerNumbers, then: LinearNumbers | None, *, head: bool = False
    ) -> Commands:
        """Commands of out_proj; ``then`` is the projection that comes next, if one does."""
        c, parts = self.config, layer.sizes.out_groups
        channels = out_channels(layer.sizes, self.model.formats)
        commands: Commands = {
            "lanes": self._lanes(c.d_model, channels, layer.out_proj, parts=parts, gated=1),
            "epilogue": self._epilogue(
                [("out", c.d_model)], layer.out_proj.acc_shift, [layer.out_shift] * ROWS,
                parts=parts, gated=1,
            ),
            "residual": {"count": c.d_model, "add": 1, "emit": int(then is not None)},
        }  # fmt: skip
        commands = self._chosen(commands, layer.sizes.kind)
        return commands if then is None else commands | self._pass_on(then, head=head)

    def head(self, linear: LinearNumbers) -> Commands:
        c, m = self.config, self.model
        return self._chosen({
            "lanes": self._lanes(c.vocab_size, self.arch.in_channels, linear),
            "epilogue": self._epilogue(
                [("logit", c.vocab_size)], m.head.acc_shift, [m.head_shift()] * ROWS
            ),
            "head": {"rows": c.vocab_size, "valid": m.valid_vocab},
        })  # fmt: skip

    def _pass_on(self, then: LinearNumbers, *, head: bool) -> Commands:
        """Norm and quantization of the residual stream for the projection that comes next."""
        d_model = self.config.d_model
        pad = self.arch.in_channels - d_model
        return {
            "rms_in": {"count": 1, "eps": self.model.eps},
            "quant_in": {
                "count": d_model, "pad": pad, "base": then.act_base, "head": int(then.wide),
            } | ({"projection": int(not head)} if self.arch.wide else {}),
        }  # fmt: skip

    def _lanes(
        self, rows: int, channels: int, linear: LinearNumbers, *, parts: int = 1, gated: int = 0
    ) -> dict[str, int]:
        return {
            "gated": gated,
            "slots": -(-rows // self.arch.lanes),
            "words": channels // parts // self.arch.products,
            "parts": parts,
            "twice": int(linear.twice),
        } | ({"split": int(linear.split)} if self.arch.wide else {})

    def _epilogue(
        self,
        sections: Sequence[tuple[str, int]],
        acc_shift: int,
        shifts: Sequence[int],
        *,
        parts: int = 1,
        gated: int = 0,
        narrow: int = 0,
    ) -> dict[str, int]:
        """Epilogue of rows in sections; ``shifts`` are those of the first kinds of rows."""
        return {
            "rows": sum(rows for _, rows in sections),
            "parts": parts,
            "gated": gated,
            "acc_shift": acc_shift,
            "narrow": narrow,
            **_sections(self.graph, sections),
            **{f"shift_{n}": shift for n, shift in enumerate([*shifts, *[0] * ROWS][:ROWS])},
        }


def _placed(commands: Commands, config: ModelConfig, index: int) -> Commands:
    """Commands with the first row of the layer's part of each table: ``CLIENT_first``."""
    graph, found = kind(config.layers[index].kind).hardware.graph, dict(commands)
    for client in (each.name for each in graph.clients if each.shape == TABLE):
        before = (kind(layer.kind).hardware.runs(layer) for layer in config.layers[:index])
        first = {f"{client}_first": sum(rows.get(client, 0) for rows in before)}
        for unit, fields in graph.commands.items():
            if first.keys() & {each.name for each in fields}:
                found[unit] = found[unit] | first
    return found


def _sections(graph: Graph, sections: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Kind and end of each section; the rest are empty."""
    if unknown := [kind for kind, _ in sections if kind not in graph.kinds]:
        raise InputError(
            f"there are no rows of kind {unknown[0]} for a section of in_proj, only "
            f"{', '.join(graph.kinds)}"
        )
    if len(sections) > len(SECTIONS):
        raise InputError(f"in_proj has {len(sections)} sections, but an epilogue {len(SECTIONS)}")
    whole = [*sections, *[(next(iter(graph.kinds)), 0)] * (len(SECTIONS) - len(sections))]
    found, end = dict[str, int](), 0
    for name, (row, count) in zip(SECTIONS, whole, strict=True):
        end += count
        found |= {f"{name}_kind": graph.kinds[row], f"{name}_end": end}
    return found
