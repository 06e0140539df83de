"""SDRAM controller: an AXI4 slave in one clock domain, the chip's pins in another."""

from amaranth.hdl import Module, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

from lightmamba.hardware.rtl.memory.axi import master
from lightmamba.hardware.soc.clock_queue import ClockQueue
from lightmamba.hardware.soc.sdram_layouts import SdramShape, pins
from lightmamba.hardware.soc.sdram_port import SdramPort
from lightmamba.hardware.soc.sdram_scheduler import CAPTURES, SdramScheduler
from lightmamba.hardware.soc.sdram_timing import ULX3S, SdramTiming

__all__ = ["SdramController"]

# Entries of the queues between the clocks; each also holds a few more at its output. Those of beats
# hold four chunks each way, which makes them block RAM.
COMMANDS, CHUNKS = 4, 4


class SdramController(wiring.Component):
    """16-bit SDR SDRAM of 32 MiB behind an AXI4 slave.

    AXI is in the clock domain ``sync``, the chip in ``sdram``. Their clocks may have any ratio and
    phase: only queues (:class:`ClockQueue`) and synchronizers lie between. Both domains are reset
    together, and the clock of ``sdram`` runs at ``mhz`` from then on.

    The chip's lines give ``mhz`` times 2 bytes per second. Of these, measured in simulation with
    refresh, 64 bits and 100 MHz, bursts of 128 bytes reach 98.2 % if they read memory in order,
    96.7 % if 84 % of them read four regions in turn and 16 % write a fifth, and 90 % (reads) or
    89 % (writes) if each needs another row of the same bank. A port of 32 bits, 4 bytes per cycle
    of ``sync``, may be slower than the chip. ``latency`` cycles lie between the transfer of a read
    address and its first beat, if both clocks are equal, nothing else waits, the row is closed and
    ``capture`` is 1; each of the two queues may add one.

    Requests are answered in order: reads in the order of reads, writes in that of writes, whatever
    their ids. Where both wait they take turns, chunk by chunk (:class:`SdramPort`). So a chunk
    waits for at most ten others (those in the queue and in the scheduler and one of the other kind)
    of at most 75 cycles of ``sdram`` each, and for the refreshes between: 8 us at 100 MHz. A write
    is answered when all of it is in the queue; a read that is asked for after that sees it.

    Parameters
    ----------
    bits : int
        Of AXI data: 32 or 64.
    mhz : float
        Clock of the domain ``sdram``, up to 133.
    timing : SdramTiming
        Of the chip; by default what all chips of the ULX3S boards keep.
    pad_cycles : int
        Registers between ``pins`` and the device's pins, both ways together.

    Members
    -------
    axi : In(AXI4 master)
        As :class:`SdramPort` says: INCR bursts of whole beats, the upper address bits ignored.
    capture : In(2)
        When data are taken (:class:`SdramScheduler`); may change only while nothing is read.
    ready : Out
        The chip is initialized, 200 us after the reset. Requests may come before; they wait.
    pins : Out(sdram_layouts.pins())
        In the domain ``sdram``. Every output is a register; ``dq_i`` goes to one.

    Raises
    ------
    InputError
        If the width is none of these, or the chip does not work at that clock.
    """

    def __init__(
        self, bits: int, mhz: float, timing: SdramTiming = ULX3S, pad_cycles: int = 0
    ) -> None:
        self.shape = SdramShape(bits)
        self.scheduler = SdramScheduler(bits, mhz, timing, pad_cycles)
        beats = CHUNKS * self.shape.beats
        self.commands = ClockQueue(self.shape.command, COMMANDS, "sync", "sdram")
        # Written data leave for pins all around the chip, in the faster of the two domains.
        self.writes = ClockQueue(self.shape.beat, beats, "sync", "sdram", registers=2)
        self.reads = ClockQueue(self.shape.bits, beats, "sdram", "sync")
        super().__init__(
            {
                "axi": In(master(bits)),
                "capture": In(range(CAPTURES)),
                "ready": Out(1),
                "pins": Out(pins()),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a read address to its first beat, see above."""
        row = self.scheduler.cycles.rcd
        return (
            SdramPort.latency
            + self.commands.latency
            + self.reads.latency
            + row
            + self.scheduler.read_latency(capture=1)
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scheduler = scheduler = self.scheduler
        m.submodules.port = port = SdramPort(self.shape, self.writes.depth, self.reads.depth)
        wiring.connect(m, wiring.flipped(self.axi), port.axi)
        wiring.connect(m, scheduler.pins, wiring.flipped(self.pins))
        capture = Signal.like(self.capture)
        m.submodules.capture = cdc.FFSynchronizer(self.capture, capture, o_domain="sdram")
        m.submodules.ready = cdc.FFSynchronizer(scheduler.ready, self.ready)
        m.d.comb += scheduler.capture.eq(capture)

        m.submodules.commands, m.submodules.writes = commands, writes = self.commands, self.writes
        m.submodules.reads = reads = self.reads
        wiring.connect(m, port.command, commands.i)
        wiring.connect(m, commands.o, scheduler.command)
        wiring.connect(m, port.write, writes.i)
        wiring.connect(m, writes.o, scheduler.write)
        wiring.connect(m, reads.o, port.read)
        m.d.comb += [  # the port asked for no more than there is room for
            reads.i.valid.eq(scheduler.read_valid),
            reads.i.payload.eq(scheduler.read),
        ]
        return m
