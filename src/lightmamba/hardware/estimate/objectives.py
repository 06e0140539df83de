"""The objectives of a search, and the Pareto-optimal configurations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from lightmamba.arch.target import Resources
from lightmamba.common.errors import InputError
from lightmamba.hardware.estimate.result import Amount

__all__ = ["OBJECTIVES", "SPEEDS", "Objective", "chosen", "device_share", "dominates", "front"]

URAM_IN_BRAM18 = 16  # 288 kbit


@dataclass(frozen=True)
class Objective:
    """One figure, and whether more of it is better.

    Parameters
    ----------
    key : str
        Its name in ``values``.
    label : str
        For people, with its unit.
    best : str
        What the machine is that has the best of it.
    digits : int
        That count: an estimate is not better than 1 %.
    """

    key: str
    label: str
    best: str
    more: bool
    digits: int = 3

    def cost(self, values: Mapping[str, float]) -> float:
        """The figure to its digits, signed so that less is better."""
        value = float(f"{values[self.key]:.{self.digits}g}")
        return -value if self.more else value


OBJECTIVES = {
    "speed": Objective("tokens_per_second", "tokens/s", "fastest", True),
    "prefill": Objective("prefill_tokens_per_second", "prompt tokens/s", "best at prompts", True),
    "batch": Objective("batch_tokens_per_second", "tokens/s of a batch", "best at batches", True),
    "size": Objective("device_share", "largest share of the device", "smallest", False),
    "energy": Objective("tokens_per_joule", "tokens/J", "most efficient", True),
    "accuracy": Objective(
        "perplexity_ratio", "perplexity, x float", "most accurate", False, digits=4
    ),
}
SPEEDS = tuple(OBJECTIVES[name] for name in ("speed", "prefill", "batch"))


def chosen(names: Sequence[str]) -> tuple[Objective, ...]:
    """Objectives by name, in the order of :data:`OBJECTIVES`.

    Raises
    ------
    InputError
        If there is none of a name, or fewer than two.
    """
    known = ", ".join(OBJECTIVES)
    if unknown := [name for name in names if name not in OBJECTIVES]:
        raise InputError(f"there is no objective {unknown[0]!r}; choose from {known}")
    if len(set(names)) < 2:
        raise InputError(f"a front needs at least two objectives; choose from {known}")
    return tuple(objective for name, objective in OBJECTIVES.items() if name in names)


def device_share(total: Amount, device: Resources) -> tuple[float, str]:
    """Largest share of the device that a machine takes, and of what.

    On a device without UltraRAM one counts as 16 block RAMs, which hold as many bits.

    Returns
    -------
    share, name : float, str
        Infinite where the device has none of it.
    """
    wanted = asdict(total)
    if not device.uram:
        wanted["bram18"] += URAM_IN_BRAM18 * wanted.pop("uram")
    shares = {
        name: count / there if (there := getattr(device, name)) else float("inf")
        for name, count in wanted.items()
        if count
    }
    worst = max(shares, key=lambda name: shares[name], default="lut")
    return shares.get(worst, 0.0), worst


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether costs ``a`` are nowhere above ``b`` and somewhere below."""
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def front(values: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> list[int]:
    """Places of those that no other beats, the first objective's best first.

    Figures are compared to their digits; of those alike in all of them the one that is best in the
    unrounded figures stays, in the order of the objectives.
    """
    best: dict[tuple[float, ...], int] = {}
    for i, one in enumerate(values):
        cost = tuple(o.cost(one) for o in objectives)
        if cost not in best or _exact(one, objectives) < _exact(values[best[cost]], objectives):
            best[cost] = i
    kept = [c for c in best if not any(dominates(other, c) for other in best)]
    return [best[cost] for cost in sorted(kept)]


def _exact(values: Mapping[str, float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    return tuple(-values[o.key] if o.more else values[o.key] for o in objectives)
