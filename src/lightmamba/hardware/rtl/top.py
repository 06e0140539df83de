"""The whole accelerator, and its Verilog."""

from collections.abc import Iterator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from lightmamba.arch.clients import RECORD
from lightmamba.arch.config import ArchConfig
from lightmamba.hardware.machine.counters import counters
from lightmamba.hardware.machine.ports import clients, ports
from lightmamba.hardware.machine.probes import Probe, probes
from lightmamba.hardware.machine.registers import INTERFACE, MAGIC, registers
from lightmamba.hardware.rtl.counters import Counters
from lightmamba.hardware.rtl.host import HostPort
from lightmamba.hardware.rtl.memory.axi import lite_slave, master
from lightmamba.hardware.rtl.memory.side import MemorySide
from lightmamba.hardware.rtl.passes import slots_of, vectors_of
from lightmamba.hardware.rtl.sequencer import Sequencer
from lightmamba.hardware.rtl.streams import join
from lightmamba.hardware.rtl.units import Units
from lightmamba.hardware.rtl.verilog import written

__all__ = ["Top", "to_verilog"]


class Top(wiring.Component):
    """The accelerator: units, memory side, sequencer, host port and counters.

    Parameters
    ----------
    config : ArchConfig
    observed : bool
        Give it the probes that the simulator reads.
    build_hash : int
        What the register ``hash`` says, 32 bits.

    Members
    -------
    PORT : Out(AXI4 master)
        One for each of :func:`lightmamba.hardware.machine.ports.ports`.
    host : In(AXI4-Lite slave)
    interrupt : Out
    probe_NAME : Out
        ``valid`` and ``value``, one for each of :func:`lightmamba.hardware.machine.probes.probes`.
    """

    def __init__(self, config: ArchConfig, *, observed: bool = False, build_hash: int = 0) -> None:
        self.config, self.observed, self.build_hash = config, observed, build_hash
        members: dict[str, Any] = {
            port.name: Out(master(port.bits, read=bool(port.readers), write=bool(port.writers)))
            for port in ports(config)
        }
        members |= {"host": In(lite_slave()), "interrupt": Out(1)}
        if observed:
            for probe in probes(config):
                shown = wiring.Signature({"valid": Out(1), "value": Out(8 * probe.bytes)})
                members[f"probe_{probe.name}"] = Out(shown)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.host_port = host = HostPort(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.units = units = Units(config)
        masters = {port.name: getattr(self, port.name) for port in ports(config)}
        m.submodules.memory = memory = MemorySide(config, masters, host, sequencer, units)
        m.submodules.counters = count = Counters(counters(config))
        wiring.connect(m, wiring.flipped(self.host), host.bus)

        for unit, command in units.commands.items():
            join(m, getattr(sequencer, f"command_{unit}"), command)
        first, *later = units.head.next
        m.d.comb += [
            sequencer.program_write.eq(host.program_data_write),
            sequencer.program_index.eq(host.program_index),
            sequencer.program_data.eq(host.program_data),
            sequencer.start.eq(host.start_write),
            sequencer.fresh.eq(host.start[0]),
            sequencer.head.eq(host.start[1]),
            sequencer.token.eq(host.token),
            sequencer.position.eq(host.position),
            sequencer.chain.eq(host.chain),
            sequencer.next.eq(first),
            sequencer.units_busy.eq(units.busy),
            sequencer.memory_pending.eq(memory.pending),
            *self._pass(host, sequencer, units),
            host.magic.eq(MAGIC),
            host.version.eq(INTERFACE),
            host.hash.eq(self.build_hash),
            host.done.eq(sequencer.done),
            host.status.eq(
                Cat(
                    sequencer.busy,
                    host.done_latch,
                    memory.drained,
                    memory.faults.seen,
                    sequencer.illegal,
                )
            ),
            host.faulty.eq(memory.faults.seen),
            host.fault.eq(memory.faults.fault),
            host.fault_page.eq(memory.faults.page),
            host.next.eq(first),
            host.units.eq(units.working),
            host.finished.eq(sequencer.finished),
            count.enable.eq(sequencer.busy),
            host.cycles.eq(count.cycles),
            self.interrupt.eq(host.interrupt_out),
        ]
        for mine, one in zip(getattr(host, "later_next", ()), later, strict=True):
            m.d.comb += mine.eq(one)
        if config.counters:
            m.d.comb += [
                count.index.eq(host.counter_index), host.counter_value.eq(count.value)
            ]  # fmt: skip
        units.count(count)
        memory.count(count)
        if self.observed:
            for probe, (_, valid, values) in zip(probes(config), units.seen(), strict=True):
                self._show(m, probe, valid, values)
        return m

    def _pass(self, host: Any, sequencer: Any, units: Any) -> Iterator[Any]:
        """Contents of a pass, for the units that have inputs of these names."""
        views = {"slot": slots_of(host), "vector": vectors_of(host)}
        given: dict[str, Value] = {"position": sequencer.begin_position}
        if self.config.steps > 1:
            given |= {"step_write": host.step_data_write, "step_index": host.step_index,
                      "step_data": host.step_data, "last_step": host.last_step}  # fmt: skip
        for client in clients(self.config, RECORD):
            bits = getattr(host, client.name)
            given |= {"replays": bits[0], "records": bits[1]}
        yield units.used.eq(Cat(vector.used for vector in vectors_of(host)))
        for unit in units.parts.values():
            for name, value in given.items():
                if hasattr(unit, name):
                    yield getattr(unit, name).eq(value)
            for name, each in views.items():
                for mine, one in zip(getattr(unit, name, ()), each, strict=False):
                    yield mine.eq(one)
        for register in registers(self.config.kinds):
            if register.to and register.counted(self.config):
                yield units.port(register.to).eq(getattr(host, register.name))

    def _show(self, m: Module, probe: Probe, valid: Value, values: list[Value]) -> None:
        """Register a probe, each number extended to the bits that memory has for it."""
        port, parts = getattr(self, f"probe_{probe.name}"), []
        each = [element for element in probe.elements for _ in range(max(1, probe.tokens))]
        for element, value in zip(each, values, strict=True):
            bits, is_signed = 8 * int(element.dtype[1]), element.dtype[0] == "i"
            whole = Value.cast(value)
            size = len(whole) // element.count
            parts += [
                _extend(whole[n * size : (n + 1) * size], bits, is_signed)
                for n in range(element.count)
            ]
        m.d.sync += [port.valid.eq(valid), port.value.eq(Cat(parts))]


def _extend(value: Value, bits: int, is_signed: bool) -> Value:
    if len(value) >= bits:
        return value[:bits]
    sign = value[-1] if is_signed else Const(0, 1)
    return Cat(value, sign.replicate(bits - len(value)))


def to_verilog(config: ArchConfig, *, observed: bool = False, build_hash: int = 0) -> str:
    """Verilog of a machine, the same text on every run (:mod:`lightmamba.hardware.rtl.verilog`)."""
    return written(Top(config, observed=observed, build_hash=build_hash), "lightmamba")
