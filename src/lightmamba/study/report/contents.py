"""Contents of a page: what is given is shown, what is missing is named."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightmamba.arch.config import ArchConfig
from lightmamba.arch.target import Target
from lightmamba.device.sim import Simulation, machine_of
from lightmamba.hardware.estimate.objectives import device_share
from lightmamba.hardware.estimate.result import Amount, Estimate
from lightmamba.model.config import ModelConfig
from lightmamba.numerics.model_formats import Formats
from lightmamba.study.plots.ranges import Panel
from lightmamba.study.report.paper import Paper, Platform, weights

__all__ = [
    "Accuracy", "Front", "FrontPoint", "Made", "Outliers", "Report", "Score", "Subject",
    "Synthesis",
]  # fmt: skip


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
        return self.arch.lanes * self.arch.port_bits // self.arch.weight_bits

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


@dataclass(frozen=True)
class Synthesis:
    """Cells by block as a synthesis tool counted them, and the flow's name.

    Parameters
    ----------
    path_ns : float or None
        Longest path between registers.
    fmax_mhz : float or None
        What that allows, or what was reached after place and route.
    """

    flow: str
    blocks: Mapping[str, Amount]
    total: Amount
    path_ns: float | None = None
    fmax_mhz: float | None = None


@dataclass(frozen=True)
class Outliers:
    """One layer of a float checkpoint before and after the rotations.

    Parameters
    ----------
    panels : {projection: (before, after)}
    peaks : {projection: (before, after)}
        The worst of all layers.
    """

    checkpoint: str
    layer: int
    panels: Mapping[str, tuple[Panel, Panel]]
    peaks: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Score:
    """A quantized model compared with the float one on the same text.

    Parameters
    ----------
    ratio, ratio_error : float
        Of the perplexities, and its standard error.
    kl : float
        Mean divergence from the float model in nats per token.
    agreement : float
        Share of tokens for which both find the same id likeliest.
    """

    method: str
    scheme: str
    perplexity: float
    ratio: float
    ratio_error: float
    kl: float
    agreement: float


@dataclass(frozen=True)
class Accuracy:
    """Scores of one model, and where they are from."""

    model: str
    reference: float  # perplexity of the float model
    scores: tuple[Score, ...]
    origin: str


@dataclass(frozen=True)
class FrontPoint:
    """One machine of a front: its figures by the names of :mod:`lightmamba.study.explore`."""

    name: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Front:
    """Configurations that no other one beats.

    Parameters
    ----------
    content : mapping
        Values of the record that ``explore`` wrote, for the picture.
    """

    points: tuple[FrontPoint, ...]
    origin: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """Everything for one page.

    Parameters
    ----------
    accuracy : tuple of Accuracy
        One for each model that was measured; none: it was not.
    """

    subject: Subject
    made: Made
    paper: Paper
    estimate: Estimate
    simulation: Simulation | None = None
    synthesis: Synthesis | None = None
    outliers: Outliers | None = None
    accuracy: tuple[Accuracy, ...] = ()
    front: Front | None = None

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
