"""Experts that a quantized model chooses, next to those that its float reference does.

A token that takes other experts than in the reference is a flip. Most are between experts of nearly
equal scores and cost little; how much all of them cost is the divergence as it is, less that with
the reference's choice forced on the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.common.errors import InputError
from lightmamba.evaluate.blocks import BlockSums
from lightmamba.evaluate.journal import Part
from lightmamba.evaluate.likelihood import Windows, check_finite, read
from lightmamba.evaluate.logprobs import paired
from lightmamba.evaluate.model import LanguageModel, Logits, Progress

__all__ = ["Choices", "Routers", "Routing", "check_experts", "compare_routing"]

Array = NDArray[Any]


class Router(Protocol):
    """A layer that chooses experts, and can be made to take others."""

    follow: Callable[[Array, Array, Array], Array] | None


Routers = Mapping[int, Router]  # by layer


@dataclass(eq=False)
class Choices:
    """Choices of one layer by a reference and by a model, of the tokens seen so far.

    Attributes
    ----------
    tokens : int
    equal : int
        Of them, those for which both chose the same experts.
    shared : float
        Experts that both chose, over the number of a token, summed over the tokens.
    kept : float
        Weight in the reference of the experts that the model chose, too, summed over the tokens.
    gaps, flipped : list
        Difference between what the reference chose its last expert by and that of the first that
        it did not choose, by token; and whether the model chose others. It is in powers of two of a
        softmax, and in sigmoids with their bias.
    """

    tokens: int = 0
    equal: int = 0
    shared: float = 0.0
    kept: float = 0.0
    gaps: list[Array] = field(default_factory=list)
    flipped: list[Array] = field(default_factory=list)

    def add(self, scores: Array, experts: Array, weights: Array, chosen: Array) -> None:
        """Note some tokens: what the reference chose, and what the model did."""
        both = (experts[:, :, None] == chosen[:, None, :]).any(-1)
        total = weights.sum(-1)
        self.tokens += len(both)
        self.equal += int(both.all(-1).sum())
        self.shared += float(both.mean(-1).sum())
        self.kept += float((np.where(both, weights, 0).sum(-1) / total).sum())
        top_k = experts.shape[1]
        if top_k < scores.shape[1]:
            ordered = -np.sort(-scores, axis=-1)
            self.gaps.append(ordered[:, top_k - 1] - ordered[:, top_k])
            self.flipped.append(~both.all(-1))

    def plain(self) -> dict[str, Any]:
        """Shares, and the median gap between scores of all tokens and of those that flipped."""
        n = max(1, self.tokens)
        gaps, flipped = (np.concatenate([*each, np.empty(0)]) for each in (self.gaps, self.flipped))
        middle = {
            name: float(np.median(some)) if some.size else None
            for name, some in (("gap", gaps), ("gap_flipped", gaps[flipped.astype(bool)]))
        }
        return {
            "equal": self.equal / n, "overlap": self.shared / n, "kept_weight": self.kept / n,
            **middle,
        }  # fmt: skip


class _Reader:
    """A model whose routers show what they choose, or take what others chose.

    Parameters
    ----------
    model : LanguageModel
    routers : {layer: Router}
        Of its layers.
    forced : _Reader, optional
        Read the same just before; this model takes its experts.
    """

    def __init__(
        self, model: LanguageModel, routers: Routers, forced: "_Reader | None" = None
    ) -> None:
        self.model, self._routers, self._forced = model, routers, forced
        self._seen: dict[int, list[tuple[Array, Array, Array]]] = {}
        self._taken: dict[int, int] = {}
        self.vocab_size, self.valid_vocab = model.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exponent

    def empty_state(self, batch: int) -> Any:
        """State of the model."""
        return self.model.empty_state(batch)

    def forward(
        self, ids: NDArray[np.int64], state: Any, *, last_only: bool = True
    ) -> tuple[Logits, Any]:
        """Logits of the model and its state, as always."""
        self._seen = {index: [] for index in self._routers}
        self._taken = dict.fromkeys(self._routers, 0)
        for index, router in self._routers.items():
            router.follow = partial(self._follow, index)
        try:
            return self.model.forward(ids, state, last_only=last_only)
        finally:
            for router in self._routers.values():
                router.follow = None

    def _follow(self, index: int, scores: Array, experts: Array, weights: Array) -> Array:
        self._seen[index].append((scores, experts, weights))
        if self._forced is None:
            return experts
        begin, self._taken[index] = self._taken[index], self._taken[index] + len(experts)
        return np.sort(self._forced.chosen(index)[1][begin : self._taken[index]], axis=-1)

    def chosen(self, index: int) -> tuple[Array, Array, Array]:
        """Scores, experts and weights of all tokens of the last call in a layer."""
        parts = zip(*self._seen[index], strict=True)  # several, where the model cut the call
        scores, experts, weights = map(np.concatenate, parts)
        return scores, experts, weights


@dataclass(frozen=True, eq=False)
class Routing:
    """Choices by layer, and divergences from the reference.

    Attributes
    ----------
    layers : {layer: Choices}
    kl, kl_forced, kl_choice : BlockSums
        KL(reference ‖ model) of the scored tokens in nats: of the model as it is, of the model that
        takes the reference's experts, and of the reference that takes the model's.
    difference : BlockSums
        The first less the second.
    """

    layers: Mapping[int, Choices]
    kl: BlockSums
    kl_forced: BlockSums
    kl_choice: BlockSums
    difference: BlockSums

    @property
    def share(self) -> float:
        """Share of the divergence that other choices cause."""
        return self.difference.mean / self.kl.mean if self.kl.mean else 0.0

    def plain(self) -> dict[str, Any]:
        """Figures by name: means over layers, then those of each layer."""
        found = {f"layer.{index}": each.plain() for index, each in self.layers.items()}
        mean = {
            name: float(np.mean([each[name] for each in found.values()]))
            for name in ("equal", "overlap", "kept_weight")
        }
        error = self.difference.standard_error() / self.kl.mean if self.kl.mean else 0.0
        return {
            **{name: getattr(self, name).mean for name in ("kl", "kl_forced", "kl_choice")},
            "share_of_choices": self.share, "share_standard_error": error, **mean,
            "layers": [{"name": name, **each} for name, each in found.items()],
        }  # fmt: skip


def check_experts(model: Sequence[Any], reference: Sequence[Any]) -> None:
    """Refuse a reference that chooses among other experts than the model.

    Parameters
    ----------
    model, reference
        Sizes of their layers.

    Raises
    ------
    InputError
        If not the same layers have experts, or these are not as many.
    """
    alike = [
        {n: (each.n_experts, each.top_k) for n, each in enumerate(layers) if each.routed}
        for layers in (model, reference)
    ]
    if alike[0] != alike[1]:
        raise InputError(
            "the model and its reference choose among other experts; compare it with the "
            "checkpoint that it was made from"
        )


def compare_routing(
    model: LanguageModel,
    reference: LanguageModel,
    routers: tuple[Routers, Routers],
    ids: ArrayLike,
    *,
    window: int = 1024,
    batch: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Routing:
    """Read a text twice with both models: as they are, and each with the other's experts.

    Parameters
    ----------
    model, reference : LanguageModel
        Of one vocabulary.
    routers
        Of the model's layers, and of the same ones of the reference (:func:`check_experts`).
    ids, window, batch, threads, progress
        As in :func:`lightmamba.evaluate.perplexity`.

    Raises
    ------
    InputError
        For what ``perplexity`` refuses.
    """
    mine, theirs = routers
    windows = Windows(ids, window, model.valid_vocab, batch)
    choices = {index: Choices() for index in mine}
    first, second = _Reader(reference, theirs), _Reader(model, mine)
    readers = first, second, _Reader(model, mine, first), _Reader(reference, theirs, second)

    def measure(
        begin: int, rows: NDArray[np.integer[Any]], tell: Callable[[int], None]
    ) -> dict[str, Any]:
        values = np.empty((3, len(rows), rows.shape[1] - 1))
        for span, targets, logits in read(readers, rows):
            for index, each in choices.items():
                each.add(*first.chosen(index), second.chosen(index)[1])
            for n, out in enumerate(values):
                pair = (readers[n + 1], first), (logits[n + 1], logits[0])
                got = paired(*pair, targets, threads=threads)
                out[:, span] = got.kl.reshape(len(rows), -1)
            tell(len(targets))
        for each in values:
            check_finite(each, windows, begin)
        named = dict(zip(("kl", "kl_forced", "kl_choice"), values, strict=True))
        named["difference"] = values[0] - values[1]
        return {name: BlockSums.of(value).plain() for name, value in named.items()}

    found = Part().results(model, windows.units(), measure, progress)
    names = ("kl", "kl_forced", "kl_choice", "difference")
    return Routing(choices, *(BlockSums.kept(found, name) for name in names))
