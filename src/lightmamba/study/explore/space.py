"""The search space: the choices, and the target that a choice gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.contract import PAGE, WORD_BITS
from lightmamba.arch.target import Channel, Target
from lightmamba.blocks import kind
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler.plan import for_kinds
from lightmamba.hardware.machine.kinds import machine
from lightmamba.model.config import ModelConfig
from lightmamba.study.explore.scheme import Scheme

__all__ = ["OPTIONS", "Candidate", "Space", "Value"]

Value = int | float | str
PORTS = (128, 256, 512)
FIFOS = (64, 128, 256, 512, 1024)
OPTIONS: dict[str, tuple[int, ...]] = {
    "lanes": (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
    "port_bits": PORTS,
    "multiplier_bits": (4, 8),
    "state_elements": (32, 64, 128, 256, 512),  # parts of a row of the state, or whole rows
    "state_port_bits": PORTS,
    "aux_port_bits": (64, *PORTS),
    "burst_beats": (8, 16, 32, 64),
    "weight_fifo": FIFOS,
    "state_fifo": (*FIFOS, 2048, 4096, 8192, 16384),
    "aux_fifo": FIFOS,
    "x_queue": FIFOS,
    "z_queue": FIFOS,
}
# Instead of these, around machines whose lanes have narrower ports.
NARROW = (32, 64, 128)
COMPACT: dict[str, tuple[int, ...]] = {
    "port_bits": NARROW, "state_port_bits": NARROW, "aux_port_bits": NARROW,
    "state_elements": (4, 8, 16, 32, 64),
}  # fmt: skip
# Searched around machines of several tokens, and where they are named.
SEVERAL: dict[str, tuple[int, ...]] = {"tokens": (1, 2, 4, 8), "packed": (0, 1)}
CLOCKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the base target's


@dataclass(frozen=True)
class Candidate:
    """One choice: a scheme, a clock, and the machine that is built."""

    scheme: str
    clock_mhz: float
    machine: ArchConfig


@dataclass(frozen=True)
class Space:
    """All choices around a base target, whose channels and device stay.

    Parameters
    ----------
    base : Target
    options : {name: values}
        Of ``scheme``, ``clock_mhz`` and the target's choices; what is not named stays as the base
        has it.
    """

    base: Target
    options: Mapping[str, tuple[Value, ...]]

    @staticmethod
    def around(
        base: Target,
        config: ModelConfig,
        schemes: Sequence[str],
        only: Mapping[str, tuple[Value, ...]] | None = None,
    ) -> "Space":
        """The usual values, those of the base for the model among them; ``only`` narrows some.

        Raises
        ------
        InputError
            If ``only`` names what is not searched, or no value of it; or the base has no machine
            with layers of the model's kinds.
        """
        machine(config.kinds)  # refuses kinds without hardware
        base = for_kinds(base, config.kinds)
        options: dict[str, tuple[Value, ...]] = {
            "scheme": tuple(schemes),
            "clock_mhz": tuple(round(share * base.clock_mhz, 3) for share in CLOCKS),
        }
        needed = [kind(k.kind).hardware.capacities(k) for k in dict.fromkeys(config.layers)]
        padded = next((each["padded_state"] for each in needed if "padded_state" in each), 1)
        compact = COMPACT if base.machine.port_bits < PORTS[0] else {}
        searched = OPTIONS | compact
        for name in config.kinds:
            searched |= kind(name).hardware.searched
        for name, usual in searched.items():
            if base.machine.shared_port and name in ("state_port_bits", "aux_port_bits"):
                continue  # as wide as the lanes' port
            options[name] = tuple(sorted({*usual, getattr(base.machine, name)}))
        usual_machine = ArchConfig()
        passes = {*(only or {})} & {*SEVERAL} or any(
            getattr(base.machine, name) != getattr(usual_machine, name) for name in SEVERAL
        )
        options["state_elements"] = tuple(
            s for s in options["state_elements"] if padded % int(s) == 0 or int(s) % padded == 0
        )
        if passes:
            for name, usual in SEVERAL.items():
                options[name] = tuple(sorted({*usual, int(getattr(base.machine, name))}))
        for name, values in (only or {}).items():
            if name not in options or name == "scheme":
                known = ", ".join(n for n in {**options, **SEVERAL} if n != "scheme")
                raise InputError(
                    f"{name} is not searched on target {base.name}; searched are {known}, "
                    f"for example lanes=8,16"
                )
            if name == "clock_mhz" and max(float(v) for v in values) > base.clock_mhz:
                raise InputError(
                    f"clock_mhz may be at most that of target {base.name}, {base.clock_mhz:g}"
                )
            options[name] = values
        return Space(base, options)

    def candidate(self, chosen: Mapping[str, Value]) -> Candidate:
        """The machine of a choice: what cannot go together is moved to the nearest that can.

        Multipliers are as wide as the scheme's activations at least, and packed only where they
        can be; bursts end at 4 KiB, queues hold two bursts, that of keys and values one.
        """
        rest = dict(chosen)
        scheme, clock = str(rest.pop("scheme")), float(rest.pop("clock_mhz"))
        sizes = {name: int(value) for name, value in rest.items()}
        own = {field.name: getattr(self.base.machine, field.name) for field in fields(ArchConfig)}
        given = own | sizes
        if self.base.machine.shared_port:
            given |= dict.fromkeys(("state_port_bits", "aux_port_bits"), given["port_bits"])
        given["multiplier_bits"] = max(given["multiplier_bits"], Scheme.parse(scheme).act_bits)
        several, even = given["tokens"] > 1, given["lanes"] % 2 == 0
        given["packed"] = bool(
            given["packed"] and given["multiplier_bits"] == 4 and even and several
        )
        widest = max(given["port_bits"], given["state_port_bits"])
        burst = given["burst_beats"] = min(given["burst_beats"], PAGE * 8 // widest)
        given["weight_fifo"] = max(given["weight_fifo"], 2 * burst)
        given["row_fifo"] = max(given["row_fifo"], burst)
        words = 2 * burst * given["aux_port_bits"] // WORD_BITS
        given["aux_fifo"] = max(given["aux_fifo"], words)
        return Candidate(scheme, clock, replace(self.base.machine, **given))

    def of_base(self, scheme: str) -> dict[str, Value]:
        """The choice that is nearest to the base target itself."""
        own: dict[str, Any] = {"scheme": scheme, "clock_mhz": self.base.clock_mhz}
        own |= {name: getattr(self.base.machine, name) for name in self.options.keys() - own}
        found = {}
        for name, values in self.options.items():
            wanted = own[name]
            at_most = [v for v in values if isinstance(v, str) or v <= wanted]
            found[name] = wanted if wanted in values else (at_most or list(values[:1]))[-1]
        return found

    def smallest(self, scheme: str) -> dict[str, Value]:
        """The choice with the least of everything."""
        least = {name: min(values) for name, values in self.options.items() if name != "scheme"}
        return {"scheme": scheme, **least}

    def target(self, candidate: Candidate, name: str | None = None) -> Target:
        """The base's memories and device with this machine.

        Raises
        ------
        ValueError
            If the two do not go together.
        """
        base = self.base
        return replace(
            base, name=name or base.name, clock_mhz=candidate.clock_mhz,
            machine=candidate.machine, channels=_channels(base, candidate.machine.lanes),
        )  # fmt: skip


def _channels(base: Target, lanes: int) -> tuple[Channel, ...]:
    """Deal lanes to the channels that had some: each to the one that has most left for it."""
    if base.machine.shared_port or lanes == base.machine.lanes:
        return base.channels
    rest = {c.name: [p for p in c.ports if not _is_lane(p)] for c in base.channels}
    dealt: dict[str, list[str]] = {
        c.name: [] for c in base.channels if any(_is_lane(p) for p in c.ports)
    }
    rate = {c.name: c.attainable_gb_per_s for c in base.channels}
    for n in range(lanes):
        best = max(dealt, key=lambda name: rate[name] / (len(dealt[name]) + 1))
        dealt[best].append(f"lane{n}")
    ports = {name: (*dealt.get(name, ()), *others) for name, others in rest.items()}
    return tuple(replace(c, ports=ports[c.name]) for c in base.channels if ports[c.name])


def _is_lane(port: str) -> bool:
    return port.startswith("lane")
