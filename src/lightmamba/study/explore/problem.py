"""The definition of a search: configurations, model, objectives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lightmamba.arch.amount import Amount
from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Resources
from lightmamba.common.errors import InputError
from lightmamba.common.files import code_hash
from lightmamba.hardware.compiler import ORDERS
from lightmamba.hardware.estimate.objectives import OBJECTIVES, SPEEDS, Objective, device_share
from lightmamba.hardware.estimate.resources import unmeasured
from lightmamba.hardware.estimate.result import Estimate
from lightmamba.hardware.estimate.workload import Workload
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.explore.space import Space, Value

__all__ = ["Area", "Estimator", "Problem", "Verdict"]

Areas = Mapping[str, Amount]
Area = Callable[[ArchConfig, Resources | None], Areas]
Estimator = Callable[[Workload, Areas], Estimate]


@dataclass(frozen=True)
class Verdict:
    """Verdict on a candidate.

    Parameters
    ----------
    refused : str or None
        Why there is no such machine; nothing else is known then.
    values : {objective's key: figure}
        Of a machine that is too large, its share of the device alone: nobody asks for its speed.
    fullest : str
        What it takes the largest share of: lut, ff, dsp, bram18 or uram.
    bound : str
        Channel or unit that binds its speed.
    """

    refused: str | None = None
    values: Mapping[str, float] | None = None
    cycles: int = 0
    fullest: str = ""
    bound: str = ""

    @property
    def known(self) -> Mapping[str, float]:
        """The figures of a machine that was not refused."""
        if self.values is None:
            raise ValueError(f"this machine was refused: {self.refused}")
        return self.values

    @property
    def share(self) -> float:
        """Largest share of the device."""
        return self.known["device_share"]


@dataclass(frozen=True)
class Problem:
    """Everything that a search depends on but its seed.

    Parameters
    ----------
    name : str
        Of the model, for people.
    formats : {scheme: Formats}
    estimate : function
        A pass of a workload, with the machine's area: decoding, and what objectives ask for.
    area : function
        As :func:`lightmamba.hardware.estimate.resources.resources`.
    ratios : {scheme: float}
        Perplexity over that of the float model, where accuracy is an objective.
    measured_on : str
        Model and text of the ratios.
    fill : float
        Largest share of the device that a machine may take.
    context : int, optional
        Positions that memory has room for in a sequence, where layers keep something of each;
        ``estimate`` is of as many.

    Raises
    ------
    InputError
        If the base names no device, or ``fill`` is out of range.
    """

    name: str
    config: ModelConfig
    space: Space
    formats: Mapping[str, Formats]
    objectives: tuple[Objective, ...]
    estimate: Estimator
    area: Area
    ratios: Mapping[str, float]
    measured_on: str = ""
    fill: float = 1.0
    context: int | None = None

    def __post_init__(self) -> None:
        if self.space.base.resources is None:
            raise InputError(
                f"target {self.space.base.name} names no device, so that no machine has a share "
                f"of it; take u280, or add a [resources] table to a copy of the target"
            )
        if not 0 < self.fill <= 1:
            raise InputError(f"--fill must be above 0 and at most 1, not {self.fill:g}; try 0.8")

    def judge(self, chosen: Mapping[str, Value]) -> Verdict:
        """Estimate one choice; what is refused is a verdict too."""
        try:
            candidate = self.space.candidate(chosen)
            target = self.space.target(candidate)
            formats = self.formats[candidate.scheme]
            work = Workload.of(self.config, formats, target, ORDERS[0], self.context)
            work.memory.registers(work.memory.regions())
            area = self.area(work.arch, target.resources)
            if not area:
                return Verdict(refused=unmeasured(work.arch))
            assert target.resources is not None
            share, fullest = device_share(sum(area.values(), Amount()), target.resources)
            values = {"device_share": share}
            if share > self.fill:
                return Verdict(None, values, fullest=fullest)
            found = self.estimate(work, area)
            values |= self._speeds(work, found)
        except ValueError as error:  # InputError is one
            return Verdict(refused=str(error))
        if found.energy is not None:
            values["tokens_per_joule"] = 1 / found.energy.joules[1]
        elif OBJECTIVES["energy"] in self.objectives:
            raise InputError(
                f"no energy is known for target {target.name}; "
                f"leave it out: --objectives speed,size,accuracy"
            )
        if candidate.scheme in self.ratios:
            values["perplexity_ratio"] = self.ratios[candidate.scheme]
        return Verdict(None, values, found.cycles, fullest, found.bound)

    def _speeds(self, work: Workload, decode: Estimate) -> dict[str, float]:
        """Speed of decoding, and of the other kinds of passes that are objectives."""
        speeds = {SPEEDS[0].key: decode.tokens_per_second}
        for objective, mode in zip(SPEEDS[1:], ("prefill", "batch"), strict=True):
            if objective in self.objectives:
                other = work.of_mode(mode)
                alike = (other.slots, other.head) == (work.slots, work.head)
                found = decode if alike else self.estimate(other, decode.resources)
                speeds[objective.key] = found.tokens_per_second
        return speeds

    def possible(self) -> tuple["Problem", dict[str, str], dict[str, Verdict]]:
        """Leave out the schemes that no machine of the device can have.

        The base's own machine is tried, and where that cannot be, the smallest one.

        Returns
        -------
        problem, reasons, verdicts : Problem, {scheme: str}, {scheme: Verdict}
            Without those schemes, and why; what the base's own machine is in each of the others.

        Raises
        ------
        InputError
            If none is left.
        """
        reasons: dict[str, str] = {}
        of_base: dict[str, Verdict] = {}
        for scheme in map(str, self.space.options["scheme"]):
            own = self.judge(self.space.of_base(scheme))
            if not self.feasible(own):
                least = self.space.smallest(scheme)
                smallest = self.judge(least)
                if not self.feasible(smallest):
                    reasons[scheme] = self._why(least, [smallest, own])
                    continue
            of_base[scheme] = own
        if not of_base:
            raise InputError(f"{next(iter(reasons.values()))}; so there is nothing to search")
        options = {**self.space.options, "scheme": tuple(of_base)}
        return replace(self, space=Space(self.space.base, options)), reasons, of_base

    def feasible(self, verdict: Verdict) -> bool:
        """Whether there is such a machine, and it fits."""
        return verdict.refused is None and verdict.share <= self.fill

    def _why(self, chosen: Mapping[str, Value], verdicts: list[Verdict]) -> str:
        if any(verdict.refused for verdict in verdicts):
            return next(str(v.refused) for v in verdicts if v.refused)
        machine: ArchConfig = self.space.candidate(chosen).machine
        base, least = self.space.base.name, verdicts[0]
        limit = "" if self.fill == 1 else f", of which --fill allows {self.fill:g}"
        return (
            f"even the smallest {chosen['scheme']} machine ({machine.lanes} lane"
            f"{'s' if machine.lanes > 1 else ''} of {machine.port_bits} bits) takes "
            f"{least.share:.3g} times the {least.fullest} of target {base}{limit}"
        )

    def signature(self) -> dict[str, Any]:
        """Plain values of all that the results depend on, by what people call it."""
        return {
            "code": code_hash(),
            "model": self.config.as_dict(),
            "base target": self.space.base.to_dict(),
            "options": {name: list(values) for name, values in self.space.options.items()},
            "formats": {name: f.as_dict() for name, f in self.formats.items()},
            "objectives": [objective.key for objective in self.objectives],
            "largest share": self.fill,
            "context": self.context,
            "text or model of the accuracy": self.measured_on,
        }
