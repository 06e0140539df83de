"""Bridge from a serial line to an accelerator's registers, its memory and its interrupt.

The protocol is that of :mod:`lightmamba.hardware.machine.serial`.
"""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.machine.serial import (
    RATE_BITS,
    Identity,
    rate,
)
from lightmamba.hardware.rtl.memory.axi import lite_slave, master
from lightmamba.hardware.rtl.streams import join
from lightmamba.hardware.soc.bridge_answer import AnswerSender
from lightmamba.hardware.soc.bridge_execute import Executor
from lightmamba.hardware.soc.bridge_receive import FrameBuffer, FrameReceiver
from lightmamba.hardware.soc.soc_registers import SocRegisters
from lightmamba.hardware.soc.uart import BaudClock, UartReceiver, UartTransmitter

__all__ = ["SerialBridge"]

QUIET_BITS = 6  # of the counter of silence; so it is right to a 64th


class SerialBridge(wiring.Component):
    """Serve a host behind a serial line.

    Characters are taken at line rate at all times: throughput is that of the line, less 13 bytes
    for a request and 10 for an answer. A request begins to be answered ``latency`` cycles after its
    last character has been received, if none is under way. A bus or memory that never answers stops
    the bridge.

    Parameters
    ----------
    bits : int
        Of the memory port, 32 or 64.
    identity : Identity
        What the board says of itself; ``buffer``, ``silence_log2`` and ``idle_log2`` hold for the
        hardware.

    Members
    -------
    rx, tx : In, Out
        The line, as the board sees it.
    host : Out(AXI4-Lite)
        To the accelerator's host port.
    memory : Out(AXI4)
        Bursts of one beat, one at a time, with id 0.
    interrupt : In
        Of the accelerator.
    phase_step, phase_later, capture, leds, reset : Out
        Of :class:`~lightmamba.hardware.soc.soc_registers.SocRegisters`.
    """

    latency = 32

    def __init__(self, bits: int, identity: Identity) -> None:
        self.bits, self.identity = bits, identity
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "host": Out(lite_slave()),
            "memory": Out(master(bits)), "interrupt": In(1), "phase_step": Out(1),
            "phase_later": Out(1), "capture": Out(4), "leds": Out(8), "reset": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.clock = clock = BaudClock()
        m.submodules.receiver = receiver = UartReceiver()
        m.submodules.transmitter = transmitter = UartTransmitter()
        m.submodules.buffer = buffer = FrameBuffer(self.identity.buffer)
        m.submodules.frames = frames = FrameReceiver()
        m.submodules.executor = executor = Executor(self.bits, self.identity)
        m.submodules.sender = sender = AnswerSender()
        m.submodules.registers = registers = SocRegisters(self.identity.turn)

        default = rate(self.identity.clock_hz, self.identity.baud)
        now, fall_back = Signal(RATE_BITS, init=default), Signal()
        m.d.comb += [
            clock.rate.eq(now),
            receiver.rate.eq(now),
            transmitter.tick.eq(clock.tick),
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
        ]
        with m.If(fall_back | (receiver.valid & receiver.line_break)):
            m.d.sync += now.eq(default)
        with m.Elif(executor.rate_set):
            m.d.sync += now.eq(executor.rate)

        m.d.comb += [
            frames.valid.eq(receiver.valid),
            frames.data.eq(receiver.data),
            frames.error.eq(receiver.error),
            frames.full.eq(buffer.full),
            frames.taken.eq(executor.taken),
            buffer.write.eq(frames.write),
            buffer.data.eq(frames.o_data),
            buffer.commit.eq(frames.commit),
            buffer.drop.eq(frames.drop),
            executor.broken.eq(frames.broken),
            executor.sent.eq(~transmitter.busy & ~sender.o.valid),
            executor.interrupt.eq(self.interrupt),
            executor.soc_value.eq(registers.value),
            registers.index.eq(executor.soc_index),
            registers.write.eq(executor.soc_write),
            registers.data.eq(executor.soc_data),
        ]
        for name in ("phase_step", "phase_later", "capture", "leds", "reset"):
            m.d.comb += getattr(self, name).eq(getattr(registers, name))
        join(m, buffer.o, executor.frames)
        join(m, executor.answer, sender.i)
        join(m, sender.o, transmitter.i)
        wiring.connect(m, executor.host, wiring.flipped(self.host))
        wiring.connect(m, executor.memory, wiring.flipped(self.memory))
        self._time(m, clock.tick, receiver, frames, executor, fall_back)
        return m

    def _time(
        self, m: Module, tick: Signal, receiver: UartReceiver, frames: FrameReceiver,
        executor: Executor, fall_back: Signal,
    ) -> None:  # fmt: skip
        """Measure the silence of the line, and how long no correct request came."""
        slow = self.identity.silence_log2 - QUIET_BITS
        parts, pulse = Signal(slow), Signal()  # bit times of a step of both counters
        silent = Signal(QUIET_BITS + 1)
        idle = Signal(self.identity.idle_log2 - slow + 1)
        with m.If(tick):
            m.d.sync += parts.eq(parts + 1)
        m.d.sync += pulse.eq(tick & (parts == (1 << slow) - 1))
        m.d.comb += [frames.quiet.eq(silent[-1]), fall_back.eq(idle[-1])]
        with m.If(receiver.valid):
            m.d.sync += silent.eq(0)
        with m.Elif(pulse & ~silent[-1]):
            m.d.sync += silent.eq(silent + 1)
        with m.If(frames.commit | executor.busy | fall_back):
            m.d.sync += idle.eq(0)
        with m.Elif(pulse):
            m.d.sync += idle.eq(idle + 1)
