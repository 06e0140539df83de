"""Experts that a quantized model chooses, next to those that its float reference does.

A token that takes other experts than in the reference is a flip. Most are between experts of nearly
equal scores and cost little; how much all of them cost is the divergence as it is, less that with
the reference's choice forced on the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmamba.evaluate.comparison import compare
from lightmamba.evaluate.model import LanguageModel, Logits, Progress

__all__ = ["Choices", "Routers", "Routing", "compare_routing"]

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
        Difference of the scores of the last expert that the reference chose and the first that it
        did not, by token; and whether the model chose others.
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


class Led:
    """A model that reads what another one read before it, and may take that one's experts.

    Parameters
    ----------
    leader, model : LanguageModel
        Of one vocabulary.
    of_leader, of_model : {layer: Router}
        Of the same layers.
    forced : bool
        Whether the model takes the leader's experts.
    choices : {layer: Choices}, optional
        Are told what both would choose.
    """

    def __init__(
        self, leader: LanguageModel, model: LanguageModel, of_leader: Routers, of_model: Routers,
        *, forced: bool, choices: Mapping[int, Choices] | None = None,
    ) -> None:  # fmt: skip
        self.leader, self.model, self.forced, self.choices = leader, model, forced, choices
        self._of_leader, self._of_model = of_leader, of_model
        self._seen: dict[int, list[tuple[Array, Array, Array]]] = {}
        self.vocab_size, self.valid_vocab = model.vocab_size, model.valid_vocab
        self.logit_exponent = model.logit_exponent

    def empty_state(self, batch: int) -> tuple[Any, Any]:
        """States of both."""
        return self.leader.empty_state(batch), self.model.empty_state(batch)

    def forward(
        self, ids: NDArray[np.int64], state: tuple[Any, Any], *, last_only: bool = True
    ) -> tuple[Logits, tuple[Any, Any]]:
        """Logits of the model, as those of any other; both states advance."""
        self._seen = {index: [] for index in self._of_leader}
        for index, router in self._of_leader.items():
            router.follow = partial(self._lead, index)
        for index, router in self._of_model.items():
            router.follow = partial(self._follow, index)
        try:
            _, first = self.leader.forward(ids, state[0], last_only=True)
            logits, second = self.model.forward(ids, state[1], last_only=last_only)
        finally:
            for router in (*self._of_leader.values(), *self._of_model.values()):
                router.follow = None
        return logits, (first, second)

    def _lead(self, index: int, scores: Array, experts: Array, weights: Array) -> Array:
        self._seen[index].append((scores, experts, weights))
        return experts

    def _follow(self, index: int, scores: Array, experts: Array, weights: Array) -> Array:
        of_leader = self._seen[index].pop(0)
        if len(of_leader[1]) != len(experts):
            raise AssertionError("both models read the same tokens in a call")
        if self.choices is not None:
            self.choices[index].add(*of_leader, experts)
        return np.sort(of_leader[1], axis=-1) if self.forced else experts


@dataclass(frozen=True, eq=False)
class Routing:
    """Choices by layer, and divergences from the reference.

    Attributes
    ----------
    layers : {layer: Choices}
    kl, kl_forced, kl_choice : float
        Mean KL(reference ‖ model) in nats: of the model as it is, of the model that takes the
        reference's experts, and of the reference that takes the model's.
    """

    layers: Mapping[int, Choices]
    kl: float
    kl_forced: float
    kl_choice: float

    @property
    def share(self) -> float:
        """Share of the divergence that other choices cause."""
        return 1 - self.kl_forced / self.kl if self.kl else 0.0

    def plain(self) -> dict[str, Any]:
        """Figures by name: means over layers, then those of each layer."""
        found = {f"layer.{index}": each.plain() for index, each in self.layers.items()}
        mean = {
            name: float(np.mean([each[name] for each in found.values()]))
            for name in ("equal", "overlap", "kept_weight")
        }
        return {
            "kl": self.kl, "kl_forced": self.kl_forced, "kl_choice": self.kl_choice,
            "share_of_choices": self.share, **mean,
            "layers": [{"name": name, **each} for name, each in found.items()],
        }  # fmt: skip


def compare_routing(
    model: LanguageModel,
    reference: LanguageModel,
    routers: tuple[Routers, Routers],
    ids: ArrayLike,
    *,
    progress: Progress | None = None,
    **options: Any,
) -> Routing:
    """Read a text three times with both models.

    Parameters
    ----------
    model, reference : LanguageModel
        Of one vocabulary.
    routers
        Of the model's layers, and of the reference's.
    ids, progress, **options
        As :func:`~lightmamba.evaluate.compare` takes them.

    Raises
    ------
    InputError
        For what ``compare`` refuses.
    """
    mine, theirs = routers
    choices = {index: Choices() for index in mine}
    as_it_is = Led(reference, model, theirs, mine, forced=False, choices=choices)
    runs = (
        as_it_is,
        Led(reference, model, theirs, mine, forced=True),
        Led(model, reference, mine, theirs, forced=True),
    )
    found = []
    for n, each in enumerate(runs):
        part = None if progress is None else partial(_part, progress, n, len(runs))
        found.append(compare(each, reference, ids, progress=part, **options).kl)
    return Routing(choices, *found)


def _part(progress: Progress, n: int, count: int, done: int, total: int) -> None:
    """Progress of one of several readings of the same text."""
    progress(n * total + done, count * total)
