"""The units of the datapath, wired to each other as the data flow."""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.program import COMMANDS
from lightmamba.rtl.activations import ActivationBuffer
from lightmamba.rtl.bc import BCStore
from lightmamba.rtl.blocks import Blocks
from lightmamba.rtl.conv import Conv
from lightmamba.rtl.counters import Counters
from lightmamba.rtl.discretize import Discretizer
from lightmamba.rtl.embed import Embedder
from lightmamba.rtl.epilogue import Epilogue
from lightmamba.rtl.gate import Gate
from lightmamba.rtl.hadamard import HadamardUnit
from lightmamba.rtl.head import Head
from lightmamba.rtl.lanes import Lanes
from lightmamba.rtl.layouts import BLOCKED, DISCRETE
from lightmamba.rtl.quantizer import Quantizer
from lightmamba.rtl.residual import Residual
from lightmamba.rtl.rms import RmsUnit
from lightmamba.rtl.ssm import Ssm
from lightmamba.rtl.streams import StreamQueue, join

__all__ = ["Units"]


class Units(Elaboratable):
    """All units of a machine; each is an attribute under the name that its command has.

    What is left open is the side of the memory: ``lanes.i_beat[l]``, ``embed.i_word``,
    ``discretize.i_param``, ``conv.i_param``, ``conv.i_state``, ``gate.i_weight``, ``ssm.i_state``
    in; ``conv.o_state``, ``ssm.o_state``, ``head.o_word`` out.

    Attributes
    ----------
    busy : Signal
        Some unit has a command that is not finished. Registered.
    working : Signal
        Which of them, in the order of the table of commands.
    """

    def __init__(self, config: ArchConfig) -> None:
        self.config = config
        self.embed = Embedder()
        self.residual = Residual(config.in_channels)
        self.rms_in, self.rms_out = RmsUnit(), RmsUnit()
        act, head = config.projection.act, config.head.act
        self.quant_in, self.quant_out = Quantizer(act, head), Quantizer(act, head)
        self.activations = ActivationBuffer(config)
        self.lanes = Lanes(config, self.activations)
        self.epilogue = Epilogue(config)
        self.discretize = Discretizer()
        self.conv = Conv()
        self.blocks = Blocks()
        self.bc = BCStore(config)
        self.ssm = Ssm(config)
        self.gate = Gate()
        self.hadamard = HadamardUnit()
        self.head = Head()
        self.heads_queue = StreamQueue(DISCRETE, max(2, config.heads))
        self.x_queue = StreamQueue(BLOCKED, config.x_queue)
        self.z_queue = StreamQueue(signed(16), config.z_queue)
        self.busy = Signal()
        self.working = Signal(len(COMMANDS))
        self.for_head = Signal()  # what quant_in works on is the head's input

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parts = [*COMMANDS, "activations", "heads_queue", "x_queue", "z_queue"]
        for name in parts:
            m.submodules[name] = getattr(self, name)
        for o, i in self._streams():
            join(m, o, i)
        m.d.comb += [
            self.bc.address.eq(self.ssm.address),
            Value.cast(self.ssm.B).eq(Value.cast(self.bc.B)),
            Value.cast(self.ssm.C).eq(Value.cast(self.bc.C)),
        ]
        with m.If(self.quant_in.command.valid & self.quant_in.command.ready):
            m.d.sync += self.for_head.eq(self.quant_in.command.payload.head)
        working = Cat(getattr(self, u).busy | getattr(self, u).command.valid for u in COMMANDS)
        m.d.sync += [self.working.eq(working), self.busy.eq(working.any())]
        return m

    def _streams(self) -> Iterator[tuple[Any, Any]]:
        """Output and input of every connection, in the order of the data."""
        epilogue = self.epilogue
        yield self.embed.o, self.residual.i_embed
        yield self.residual.o, self.quant_in.i
        yield self.residual.o_sum, self.rms_in.i
        yield self.quant_in.o, self.activations.i_in
        yield self.lanes.o, epilogue.i
        yield self.rms_in.o, epilogue.i_rms_in
        yield epilogue.o_dt, self.discretize.i
        yield self.discretize.o, self.heads_queue.i
        yield self.heads_queue.o, self.ssm.i_head
        yield epilogue.o_conv, self.conv.i
        yield self.conv.o, self.blocks.i
        yield self.blocks.o_bc, self.bc.i
        yield self.bc.o_ready, self.ssm.i_bc
        yield self.blocks.o_x, self.x_queue.i
        yield self.x_queue.o, self.ssm.i_x
        yield self.ssm.o_y, self.gate.i_y
        yield epilogue.o_z, self.z_queue.i
        yield self.z_queue.o, self.gate.i_z
        yield self.gate.o, self.hadamard.i
        yield self.gate.o_sum, self.rms_out.i
        yield self.hadamard.o, self.quant_out.i
        yield self.rms_out.o, epilogue.i_rms_out
        yield self.quant_out.o, self.activations.i_out
        yield epilogue.o_out, self.residual.i_row
        yield epilogue.o_logit, self.head.i

    def count(self, counters: Counters) -> None:
        """Connect everything that the units count."""
        for name in ("multiplying", "scale", "wait_activation", "wait_memory", "wait_epilogue"):
            counters.count(name, getattr(self.lanes, name))
        states = Cat(
            getattr(self.lanes, name)
            for name in ("multiplying", "scale", "wait_activation", "wait_memory", "wait_epilogue")
        )
        counters.count("idle", ~states.any())
        counters.count("ssm_busy", self.ssm.busy & ~self.ssm.waiting)
        counters.count("ssm_waiting", self.ssm.waiting)
        losses: dict[str, Value] = {
            "embedding": self.embed.lost,
            "in_proj": self.epilogue.lost_in,
            "conv.input": self.conv.lost_input,
            "conv": self.conv.lost,
            "dt": self.discretize.lost,
            "ssm.h": self.ssm.lost_h,
            "ssm.y": self.ssm.lost_y,
            "gate": self.gate.lost,
            "hadamard": self.hadamard.lost,
            "out_proj": self.epilogue.lost_out,
            "residual": self.residual.lost,
            "head": self.epilogue.lost_head,
            "out_proj.scale": self.quant_out.lost_scale,
            "clipped": self.quant_in.clipped + self.quant_out.clipped,
        }
        for name, event in losses.items():
            counters.count(name, event)
        lost = self.quant_in.lost_scale
        counters.count("in_proj.scale", Mux(self.for_head, 0, lost))
        counters.count("head.scale", Mux(self.for_head, lost, 0))
