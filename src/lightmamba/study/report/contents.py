"""Contents of a page: what is given is shown, what is missing is named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.device.sim import Simulation, machine_of
from lightmamba.hardware.estimate.objectives import device_share
from lightmamba.hardware.estimate.result import Amount, Estimate
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.plots.ranges import Panel
from lightmamba.study.report.paper import Paper, Platform, weights

__all__ = ["Accuracy", "Cells", "Made", "Outliers", "Report", "Score", "Subject", "Synthesis"]


@dataclass(frozen=True)
class Subject:
    """A model on a machine.

    Parameters
    ----------
    name : str
        Of the model: a shape, a file or a build.
    arch : ArchConfig
        Of the machine, as :func:`lightmamba.hardware.compiler.plan` gives it.
    order : str
        Row order of in_proj.
    """

    name: str
    config: ModelConfig
    formats: Formats
    target: Target
    arch: ArchConfig
    order: str = "reordered"

    @property
    def scheme(self) -> str:
        """Bits of weights and activations, such as W4A4."""
        return f"W{self.formats.weight_bits}A{self.formats.act_bits}"

    @property
    def weights(self) -> int:
        """Weights of all projections and the LM head."""
        return weights(self.config)

    @property
    def products_per_cycle(self) -> int:
        """Multipliers of all lanes."""
        return self.arch.lanes * self.arch.products

    @property
    def compute_bound(self) -> float:
        """Tokens per second if every multiplier worked always; the head may take two passes."""
        head = self.config.vocab_size * self.config.d_model
        products = self.weights + head * self.arch.head_twice
        cycles = products / self.products_per_cycle
        return self.target.clock_mhz * 1e6 / cycles

    @property
    def machine(self) -> dict[str, Any]:
        """Description that a simulation of it carries."""
        return machine_of(self.target, self.arch, self.order, self.config, self.formats)


@dataclass(frozen=True)
class Made:
    """When and with what a page was made; ``versions`` by program."""

    date: str
    command: str
    versions: Mapping[str, str]


class Cells(msgspec.Struct, frozen=True, kw_only=True):
    """Cells of a design, or of each of ``count`` equal blocks, as ``synth`` stores them."""

    lut: float
    ff: float
    dsp: float
    bram: float
    uram: float
    count: int = 1

    @property
    def total(self) -> Amount:
        """Cells of all of them."""
        return Amount(self.lut, self.ff, self.dsp, self.bram, self.uram).times(self.count)


class Synthesis(Cells, frozen=True, kw_only=True):
    """Cells as a synthesis tool counted them.

    Parameters
    ----------
    path_ns : float or None
        Longest path between registers.
    fmax_mhz : float or None
        Clock that the path allows, or that was reached after place and route.
    """

    target: str
    blocks: dict[str, Cells]
    tool: str = ""
    flow: str = ""
    path_ns: float | None = None
    fmax_mhz: float | None = None

    @property
    def how(self) -> str:
        """The tool and its flow."""
        return ", ".join(word for word in (self.tool, self.flow) if word)

    @property
    def amounts(self) -> dict[str, Amount]:
        """Cells by block; equal blocks are given once, with their count."""
        return {
            name if cells.count == 1 else f"{name} × {cells.count}": cells.total
            for name, cells in self.blocks.items()
        }


@dataclass(frozen=True)
class Outliers:
    """One layer of a float checkpoint before and after the rotations.

    Parameters
    ----------
    panels, weights : {projection: (before, after)}
        Of the inputs, and of the weights.
    peaks : {projection: (before, after)}
        The worst of all layers.
    """

    checkpoint: str
    layer: int
    panels: Mapping[str, tuple[Panel, Panel]]
    peaks: Mapping[str, tuple[float, float]]
    weights: Mapping[str, tuple[Panel, Panel]] = field(default_factory=dict)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A quantized model compared with the float one on the same text, as ``evaluate`` stores it.

    Parameters
    ----------
    ratio, ratio_standard_error : float
        Ratio of the perplexities.
    kl : float
        Mean divergence from the float model in nats per token.
    top1_agreement : float
        Share of tokens for which both find the same id likeliest.
    """

    method: str
    scheme: str
    perplexity: float
    reference_perplexity: float
    ratio: float
    ratio_standard_error: float
    kl: float
    top1_agreement: float
    tokens: int


@dataclass(frozen=True)
class Accuracy:
    """Scores of one model, and where they are from."""

    model: str
    scores: tuple[Score, ...]
    origin: str

    @property
    def reference(self) -> float:
        """Perplexity of the float model."""
        return self.scores[0].reference_perplexity


@dataclass(frozen=True)
class Report:
    """Everything for one page.

    Parameters
    ----------
    accuracy : tuple of Accuracy
        One for each model that was measured; none: it was not.
    front : mapping or None
        Values of the record that ``explore`` wrote.
    """

    subject: Subject
    made: Made
    paper: Paper
    estimate: Estimate
    simulation: Simulation | None = None
    synthesis: Synthesis | None = None
    outliers: Outliers | None = None
    accuracy: tuple[Accuracy, ...] = ()
    front: Mapping[str, Any] | None = None

    @property
    def claim(self) -> Platform | None:
        """The paper's row for the same model, scheme and board."""
        s = self.subject
        return self.paper.of(s.config, s.target.name, s.scheme)

    @property
    def share(self) -> dict[str, float]:
        """Largest share of the device, by the name of the objective, if there is a device."""
        device = self.subject.target.resources
        if device is None or not self.estimate.resources:
            return {}
        return {"device_share": device_share(self.estimate.total, device)[0]}

    @property
    def amounts(self) -> dict[str, Amount]:
        """Cells of the whole design by origin, as far as they are known."""
        found = {
            "estimated": self.estimate.total if self.estimate.resources else None,
            "synthesized": self.synthesis.total if self.synthesis else None,
            "published": self.claim.amount if self.claim else None,
        }
        return {origin: amount for origin, amount in found.items() if amount is not None}
