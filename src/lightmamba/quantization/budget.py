"""Exceptions of a recipe that a budget of bits allows, where they save the most divergence."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightmamba.common.errors import InputError
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats, Widths
from lightmamba.quantization.api import FileRun, Progress
from lightmamba.quantization.driver import lower_model
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.sensitivity import (
    NARROW,
    RANKED,
    WIDE,
    Cost,
    costs,
    excepted,
    narrow,
    widened,
)

__all__ = ["Budget", "Choice", "Ranking", "choose"]

OPTIONS = {"weights": "--budget", "activations": "--act-budget"}
BITS = {"weights": "weight_bits", "activations": "act_bits"}


@dataclass(frozen=True)
class Budget:
    """Mean bits of the layers' projections, over their weights; None: those of the recipe.

    Bits of activations are weighted like those of weights: each weight meets an activation.
    """

    weights: float | None = None
    activations: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of :data:`NARROW` that have a budget."""
        return tuple(name for name in NARROW if getattr(self, name) is not None)

    def check(self, recipe: Recipe, config: ModelConfig) -> None:
        """Refuse a budget that no choice meets.

        Raises
        ------
        InputError
            With the bits that can be met.
        """
        if any(layer.routed for layer in config.layers):
            raise InputError(
                f"{OPTIONS[self.names[0]]} is not for models with experts; name exceptions of "
                f"your own with --exceptions FILE"
            )
        formats, own, sizes = recipe.formats, excepted(recipe), dict[tuple[int, str], int]()
        for index, layer in enumerate(config.layers):
            for matrix in layer.matrices(config.d_model, formats):
                sizes[index, matrix.name] = matrix.rows * matrix.columns
        every = sum(sizes.values())
        for name in self.names:
            bits, wanted = getattr(formats, BITS[name]), getattr(self, name)
            if bits == WIDE:
                raise InputError(
                    f"{OPTIONS[name]}: all {name} of the recipe {recipe.name} have {bits} bits; "
                    f"take one of 4 bits, such as w4a4"
                )
            base = sum(_bits(formats, name, *at) * size for at, size in sizes.items()) / every
            if not base <= wanted <= WIDE:
                raise InputError(
                    f"{OPTIONS[name]} must be from {base:.4g} to {WIDE}, the bits of {name} by the "
                    f"recipe {recipe.name} and of exceptions, not {wanted:g}; try "
                    f"{min(base + 0.3, WIDE):.3g}"
                )
            free = [size for at, size in sizes.items() if at not in own]
            least = base + (WIDE - bits) * min(free, default=0) / every
            if base < wanted < least:
                raise InputError(
                    f"{OPTIONS[name]} {wanted:g}: no projection fits; with 8 bits in the smallest, "
                    f"the mean is {least:.4g}"
                )


@dataclass(frozen=True)
class Choice:
    """A recipe with exceptions, and what they were chosen by.

    Attributes
    ----------
    recipe
        With an exception for each projection that was chosen.
    costs
        Of all projections, the largest first.
    bits
        Mean bits by :data:`NARROW`.
    cycles
        Cycles of the lanes, with 4-bit multipliers, over those without any exception.
    """

    recipe: Recipe
    costs: tuple[Cost, ...]
    bits: dict[str, float]
    cycles: float

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each projection: its formats, costs in nats per token, lane cycles of a W4A4 beat."""
        formats = self.recipe.formats
        for cost in self.costs:
            op = formats.of(cost.layer, cost.projection)
            yield {
                "layer": cost.layer, "projection": cost.projection, "weights": cost.weights,
                "weight_bits": op.bits, "act_bits": op.act.bits,
                **{f"kl_{name}": cost.kl.get(name) for name in NARROW},
                "lane_cycles": lane_cycles(formats, cost.layer, cost.projection),
            }  # fmt: skip


def lane_cycles(formats: Formats, layer: int, projection: str) -> int:
    """Cycles of 4-bit multipliers for as many weights as one takes at W4A4."""
    op = formats.of(layer, projection)
    return op.bits * op.act.bits // 16


def choose(recipe: Recipe, found: Sequence[Cost], budget: Budget) -> Choice:
    """Give 8 bits to what costs most for each bit, until the budget is spent."""
    base, every = recipe.formats, sum(cost.weights for cost in found)
    wide = {name: set[tuple[int, str]]() for name in NARROW}
    bits = {}
    for name in NARROW:
        own = getattr(base, BITS[name])
        spent = float(
            sum(_bits(base, name, each.layer, each.projection) * each.weights for each in found)
        )
        limit = (getattr(budget, name) or 0.0) * every
        ranked = sorted(
            (cost for cost in found if name in cost.kl),
            key=lambda cost: -cost.kl[name] / cost.weights,
        )
        for cost in ranked:
            more = (WIDE - own) * cost.weights
            if spent + more <= limit and cost.kl[name] > 0:
                wide[name].add((cost.layer, cost.projection))
                spent += more
        bits[name] = spent / every
    made = replace(recipe, exceptions=(*recipe.exceptions, *_exceptions(wide)))
    cycles = sum(
        lane_cycles(made.formats, cost.layer, cost.projection) * cost.weights for cost in found
    )
    plain = base.weight_bits * base.act_bits / 16 * every
    ordered = sorted(found, key=lambda cost: -sum(cost.kl.values()))
    return Choice(made, tuple(ordered), bits, cycles / plain)


def _bits(formats: Formats, name: str, layer: int, projection: str) -> int:
    op = formats.of(layer, projection)
    return op.bits if name == "weights" else op.act.bits


def _exceptions(wide: dict[str, set[tuple[int, str]]]) -> Iterator[Widths]:
    """Tables of the projections that are given 8 bits, those with the same widths together."""
    tables = defaultdict[tuple[str, frozenset[str]], list[int]](list)
    for layer, projection in sorted(set().union(*wide.values())):
        names = frozenset(name for name in NARROW if (layer, projection) in wide[name])
        tables[projection, names].append(layer)
    for (projection, names), layers in sorted(tables.items(), key=lambda each: each[1]):
        yield Widths(
            tuple(layers), projection, WIDE if "weights" in names else None,
            WIDE if "activations" in names else None,
        )  # fmt: skip


class Ranking:
    """Ranks the projections of a run by the cost of their formats.

    The checkpoint is quantized with 8 bits in all layers. That, and what is measured, is in a
    journal, so that a run that was stopped goes on; it is removed when the block ends in peace.

    Parameters
    ----------
    run : FileRun
        With the recipe that gets exceptions.
    budget : Budget

    Raises
    ------
    InputError
        As :meth:`FileRun.run`, and for a budget that no choice meets.
    """

    def __init__(self, run: FileRun, budget: Budget) -> None:
        budget.check(run.recipe, run.checkpoint.config)
        self.run = run
        recipe = widened(run.recipe, run.checkpoint.config.n_layer)
        self.wanted = narrow(run.recipe, recipe, budget.names)
        output = run.output.with_name(f"{run.output.name}.ranking")
        also = {**run.also, "budgets": list(budget.names)}
        self.job = replace(run, recipe=recipe, output=output, also=also)

    def __enter__(self) -> "Ranking":
        self.job.plan.check(self.job.folder)
        self.work, self.journal = self.job.begin()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.journal.close(remove=kind is None)

    def quantize(self, progress: Progress) -> None:
        """Quantize with 8 bits, and each projection to the recipe's."""
        self.work.progress = progress
        self.model = lower_model(
            self.work, self.job.recipe, valid_vocab=self.run.checkpoint.valid_vocab,
            threads=self.run.threads, store=self.journal, also=self.wanted,
        )  # fmt: skip

    def measure(self, progress: Progress) -> list[Cost]:
        """Cost of the recipe's formats in each projection; those of an exception have none."""
        ids, journal = self.run.ids, self.journal
        known, found = dict(journal.facts.get("costs", {})), list[Cost]()
        for name, cost in costs(
            self.model, journal.get, self.wanted, ids[:: max(1, len(ids) // RANKED)][:RANKED],
            threads=self.run.threads, known=known, progress=progress,
        ):  # fmt: skip
            found.append(cost)
            if known.get(name) != cost.kl:
                known[name] = cost.kl
                journal.commit({**journal.facts, "costs": known})
        return found
