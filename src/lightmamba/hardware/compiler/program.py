"""The program of one token: the commands of every unit, with all numbers of the model."""

from collections.abc import Mapping, Sequence
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
    half: bool = False  # the upper halves of such ones

    @staticmethod
    def of(linear: QuantizedLinear, op: Projection, arch: ArchConfig) -> "LinearNumbers":
        """Numbers of one projection."""
        return LinearNumbers(
            linear.act_base, linear.acc_shift, arch.beats(op) > 1, arch.twice(op),
            op.act.bits > arch.act_bits or op.act == arch.head.act, bool(op.act.via),
        )  # fmt: skip


@dataclass(frozen=True)
class LayerNumbers:
    """Parts of a layer that the program needs: all but its matrices."""

    sizes: Sizes
    linears: Mapping[str, LinearNumbers]  # by matrix, in the order of a token
    mixer: Commands  # of the units between them
    in_shifts: dict[str, int]  # of rows, by section of in_proj, and of a router
    out_shift: int
    blocks: Mapping[str, int]  # places of weights that are chosen while a token runs

    @staticmethod
    def of(
        model: QuantizedModel, index: int, arch: ArchConfig, blocks: Mapping[str, int]
    ) -> "LayerNumbers":
        """Numbers of one layer; ``blocks`` says where blocks that are chosen lie in memory."""
        layer, f = model.layers[index], model.formats
        sizes, shifts = layer.mixer.sizes, model.in_shift(layer)
        own = kind(sizes.kind).hardware
        commands = own.commands(layer.mixer, model.formats, arch)
        in_shifts = {name: int(shifts[rows.start]) for name, rows in sizes.sections().items()}
        if sizes.routed:
            in_shifts["router"] = model.router_shift(layer)
        return LayerNumbers(
            sizes,
            {
                name: LinearNumbers.of(layer.linears[name], sizes.projection(f, index, name), arch)
                for name in layer.linears
            },
            _placed(commands, model.config, index),
            in_shifts,
            model.out_shift(layer),
            blocks,
        )

    @property
    def entering(self) -> LinearNumbers:
        """Numbers of the first matrix that a token meets."""
        return next(iter(self.linears.values()))


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
    entering = [layer.entering for layer in layers]
    coded = instructions(arch.kinds, wide=arch.wide)
    found = [Instruction(Op.EMBED, writer.embed(entering[0]))]
    head = replace(LinearNumbers.of(model.head, model.formats.head, arch), wide=True)
    for layer, then in zip(layers, [*entering[1:], None], strict=True):
        of = layer.sizes.kind
        for each in kind(of).hardware.written(_Layer(writer, layer)):
            op = coded.in_proj(of) if each.name == "in_proj" else coded.own(each.name)
            found.append(Instruction(op, each.commands, again=each.again))
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

    def entering(
        self, layer: LayerNumbers, name: str, sections: Sequence[tuple[str, int]]
    ) -> Commands:
        """Commands of lanes and epilogue for rows of a matrix that meets the residual stream."""
        linear, rows = layer.linears[name], kind(layer.sizes.kind).hardware.graph.rows
        shifts = [layer.in_shifts.get(row.name, 0) for row in rows]
        count = sum(count for _, count in sections)
        return {
            "lanes": self._lanes(count, self.arch.in_channels, linear),
            "epilogue": self._epilogue(sections, linear.acc_shift, shifts, narrow=1),
        }

    def in_proj(self, layer: LayerNumbers) -> Commands:
        of, out = layer.sizes.kind, layer.linears["out_proj"]
        sections = kind(of).hardware.in_sections(layer.sizes, self.order)
        commands: Commands = {
            **self.entering(layer, "in_proj", sections),
            **{unit: layer.mixer[unit] for unit in (*self.graph.starts[of], "hadamard")},
            "quant_out": {
                "count": out_channels(layer.sizes, self.model.formats), "pad": 0,
                "base": out.act_base, "head": int(out.wide),
            },
        }  # fmt: skip
        return self.chosen(commands, of)

    def chosen(self, commands: Commands, of: str = "") -> Commands:
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
        commands: Commands = {
            "lanes": self.out_lanes(layer),
            "epilogue": self._epilogue(
                [("out", c.d_model)], layer.linears["out_proj"].acc_shift,
                [layer.out_shift] * ROWS, parts=parts, gated=1,
            ),
            "residual": {"count": c.d_model, "add": 1, "emit": int(then is not None)},
        }  # fmt: skip
        commands = self.chosen(commands, layer.sizes.kind)
        return commands if then is None else commands | self._pass_on(then, head=head)

    def out_lanes(self, layer: LayerNumbers) -> dict[str, int]:
        """Command of the lanes for out_proj, or for a block of it."""
        channels, parts = out_channels(layer.sizes, self.model.formats), layer.sizes.out_groups
        linear = layer.linears["out_proj"]
        return self._lanes(self.config.d_model, channels, linear, parts=parts, gated=1)

    def head(self, linear: LinearNumbers) -> Commands:
        c, m = self.config, self.model
        return self.chosen({
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
            **({"split": int(linear.split)} if self.arch.wide else {}),
            **self._more("lanes"),
        }

    def _more(self, unit: str) -> dict[str, int]:
        """Fields that only instructions of some kinds set."""
        return {field.name: 0 for field in self.graph.more.get(unit, ())}

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
            **self._more("epilogue"),
        }


class _Layer:
    """Commands of a layer's instructions, for its kind (:class:`in_hardware.Layer`)."""

    def __init__(self, writer: _Writer, layer: LayerNumbers) -> None:
        self._writer, self._layer = writer, layer
        self.sizes, self.blocks = layer.sizes, layer.blocks
        self.mixer: Mapping[str, Mapping[str, int]] = layer.mixer
        self.halved = layer.linears["in_proj"].half

    def router(self, rows: int, **fields: Mapping[str, int]) -> Commands:
        found = self._writer.entering(self._layer, "router", [("router", rows)])
        return _with(self._writer.chosen(found, self.sizes.kind), fields)

    def in_proj(self, **fields: Mapping[str, int]) -> Commands:
        return _with(self._writer.in_proj(self._layer), fields)

    def add(self, **fields: Mapping[str, int]) -> Commands:
        return _with({"lanes": self._writer.out_lanes(self._layer)}, fields)


def _with(commands: Commands, fields: Mapping[str, Mapping[str, int]]) -> Commands:
    """Commands of which some have other fields, or of more units."""
    return commands | {unit: commands.get(unit, {}) | dict(own) for unit, own in fields.items()}


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
