"""Results of an estimate."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lightmamba.arch.amount import Amount

__all__ = ["MODES", "Amount", "Energy", "Estimate"]

MODES = ("decode", "prefill", "batch", "verify")  # kinds of passes


@dataclass(frozen=True)
class Energy:
    """Joules of a token: the likely value, and the range that its constants leave open.

    Parameters
    ----------
    parts : {name: (low, likely, high)}
        By where it goes: memory, products, state, the rest of the fabric, static.
    """

    parts: Mapping[str, tuple[float, float, float]]

    @property
    def joules(self) -> tuple[float, float, float]:
        """Sum of all parts: low, likely, high."""
        low, likely, high = (sum(part[n] for part in self.parts.values()) for n in range(3))
        return low, likely, high

    @property
    def tokens_per_joule(self) -> tuple[float, float, float]:
        """Tokens per joule: low, likely, high."""
        low, likely, high = self.joules
        return 1 / high, 1 / likely, 1 / low


@dataclass(frozen=True)
class Estimate:
    """A pass of a model on a machine, without simulation: a token's, or that of several.

    Parameters
    ----------
    clock_mhz : float
    cycles, prompt_cycles : int
        From a start to the next one, tokens chained greedily; per token of a prompt, without
        logits.
    stalls : {name: int}
        Cycles by what the lanes do in them (``machine.counters.CYCLES``); their sum is ``cycles``.
    channel_bytes : {channel: int}
        Bytes read and written.
    channel_cycles : {channel: float}
        Cycles that these take at the channel's attainable rate.
    unit_cycles : {unit: int}
        Cycles that each unit works.
    nominal_bytes_per_cycle : {channel: float}
        What the data sheet promises.
    resources : {block: Amount}
        Empty where the area is unknown.
    energy : Energy or None
        None where the target names no device, or the area is unknown.
    tokens : int
        Of the pass.
    context : int
        Tokens already in each sequence; 0 where no layer keeps anything of them.
    modes : {mode: Estimate}
        Passes of other kinds, by the names of :func:`lightmamba.hardware.estimate.workload.modes`.
        What is not there is like this one.
    area_unknown : str
        Why it is unknown; empty if it is known.
    """

    clock_mhz: float
    cycles: int
    prompt_cycles: int
    stalls: Mapping[str, int]
    channel_bytes: Mapping[str, int]
    channel_cycles: Mapping[str, float]
    unit_cycles: Mapping[str, int]
    nominal_bytes_per_cycle: Mapping[str, float]
    resources: Mapping[str, Amount]
    energy: Energy | None = None
    tokens: int = 1
    context: int = 0
    modes: Mapping[str, "Estimate"] = field(default_factory=dict)
    area_unknown: str = ""

    def mode(self, name: str) -> "Estimate":
        """A pass of another kind; itself where that is no other pass."""
        return self.modes.get(name, self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of passes that are different ones, as :data:`MODES` names them."""
        return ("decode", *self.modes)

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of all sequences together."""
        return self.clock_mhz * 1e6 * self.tokens / self.cycles

    @property
    def bound_cycles(self) -> float:
        """No machine of these channels and units does a pass in fewer."""
        return max(*self.channel_cycles.values(), *self.unit_cycles.values())

    @property
    def bound(self) -> str:
        """The channel or unit that binds."""
        both = {**self.channel_cycles, **self.unit_cycles}
        return max(both, key=lambda name: both[name])

    @property
    def bandwidth_utilization(self) -> float:
        """Bytes moved per cycle against the nominal rate of the busiest channel."""
        busiest = max(self.channel_cycles, key=lambda name: self.channel_cycles[name])
        moved = self.channel_bytes[busiest] / self.cycles
        return moved / self.nominal_bytes_per_cycle[busiest]

    @property
    def total(self) -> Amount:
        """All resources."""
        return sum(self.resources.values(), Amount())
