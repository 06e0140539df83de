"""The plan of a run, printed before it starts: memory, time, and whether memory suffices."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lightmamba.blocks import kind
from lightmamba.blocks.layer import Matrix, Sizes
from lightmamba.common.errors import InputError
from lightmamba.model.checkpoint.chosen import expected
from lightmamba.model.config import ModelConfig
from lightmamba.model.products import has_fast_products
from lightmamba.numerics.model_formats import Formats
from lightmamba.quantization.driver import SCAN
from lightmamba.quantization.integers import BATCH as SEQUENCES
from lightmamba.quantization.integers import VALUES
from lightmamba.quantization.passes import OnlineHadamard, QuantizeWeights, Rotate
from lightmamba.quantization.project import BATCH
from lightmamba.quantization.recipe import Recipe
from lightmamba.quantization.rotation import KEPT, TOKENS
from lightmamba.quantization.work import ROWS, SAMPLE

__all__ = ["Plan", "available_memory", "choose_device", "flops_per_second", "sampling_memory"]

PROCESS = 770 << 20  # bytes of Python, torch, engine and tokenizer, and what the allocator keeps
COPIES = 7  # of a step's inputs, on the way to the loss and back
START, ELEMENT = 2.0, 0.35  # seconds: before the first layer, and of 10^9 simple steps
# Of the speed of large products by torch: on streams, by torch and by oneDNN, and on weights, which
# are counted in full.
STREAMS, WEIGHTS = {False: 0.43, True: 0.66}, 1.1
GB = 1e9
ENOUGH = 3  # calibration tokens per input channel that GPTQ should have


@dataclass(frozen=True)
class Plan:
    """Sizes of one run."""

    config: ModelConfig
    formats: Formats
    sequences: int
    seqlen: int
    learns: bool  # whether weights are rounded by the inputs' moments
    rotation_steps: int  # of learning a part of the rotation
    compares: bool  # whether each layer compares two places of a norm weight

    @staticmethod
    def of(config: ModelConfig, recipe: Recipe, shape: tuple[int, int]) -> "Plan":
        """Plan of a recipe with (sequences, seqlen) of calibration."""
        learns = any(isinstance(s, QuantizeWeights) and s.rounding == "gptq" for s in recipe.passes)
        steps = sum(s.steps for s in recipe.passes if isinstance(s, Rotate))
        compares = any(
            isinstance(s, OnlineHadamard) and s.gate_weight == "measure" for s in recipe.passes
        )
        return Plan(config, recipe.formats, *shape, learns, steps, compares)

    @property
    def tokens(self) -> int:
        """Calibration tokens."""
        return self.sequences * self.seqlen

    @property
    def _layers(self) -> list[tuple[Sizes, tuple[Matrix, ...], Matrix]]:
        """Sizes of each layer, its matrices that read the residual stream, and out_proj."""
        found = []
        for sizes in self.config.layers:
            *enter, back = sizes.matrices(self.config.d_model, self.formats)
            found.append((sizes, tuple(enter), back))
        return found

    @property
    def _chosen(self) -> int:
        """Bytes for each token of the choice of blocks, and of the input that they share."""
        routed = [(enter[0].rows, back.taken) for _, enter, back in self._layers if back.added]
        inner = self.formats.in_channels(self.config.d_model)
        return max((inner + 8 * (experts + 2 * taken) for experts, taken in routed), default=0)

    @property
    def _learned(self) -> int:
        """Values of the inputs that all steps of learning the rotation look at."""
        c = self.config
        return self.rotation_steps * TOKENS * (c.n_layer + 1) * c.d_model

    @property
    def _compared(self) -> int:
        """Tokens on which a layer with a norm in front of out_proj compares two places of it."""
        return min(self.tokens, SAMPLE * self.seqlen) if self.compares else 0

    @property
    def parts(self) -> dict[str, int]:
        """Bytes that the largest moments of a run take, by what takes them."""
        c, f = self.config, self.formats
        inner = f.in_channels(c.d_model)
        layers = self._layers
        outer = max(inner, *(back.columns for *_, back in layers))
        rows = max(sum(each.read for each in enter) for _, enter, _ in layers)
        wide = self.seqlen * rows
        moments = 4 * (outer * outer + c.d_model * outer)
        factor = 2 * 8 * outer * outer + 4 * outer * outer
        layer = 4 * max(
            sum(each.rows * each.columns for each in (*enter, back)) for _, enter, back in layers
        )
        batch = 6 * 4 * BATCH * max(outer, rows)
        integers = 16 * wide * max(1, min(SEQUENCES, VALUES // wide))
        head = c.vocab_size * inner * (4 + 1 + 1) + 6 * 4 * 8192 * inner
        table = c.vocab_size * c.d_model * (2 + 1) + 8 * 4 * 4096 * c.d_model
        learning = max(2 * moments + batch, moments + factor if self.learns else 0)
        step = TOKENS * (c.n_layer + 1) * c.d_model if self.rotation_steps else 0
        return {
            "process": PROCESS,
            "one layer at work": max(2 * layer + learning, integers + layer)
            + self.tokens * self._chosen,
            "rotation at work": 4 * (min(KEPT, math.prod(SCAN) // TOKENS * step) + COPIES * step),
            "embedding or head at work": max(head, table),
        }

    @property
    def memory(self) -> int:
        """Bytes at the largest moment."""
        parts = self.parts
        return parts.pop("process") + max(parts.values())

    @property
    def disk(self) -> dict[str, int]:
        """Bytes of the journal, by what takes them."""
        c, f = self.config, self.formats
        inner = f.in_channels(c.d_model)
        layers = sum(
            own.rows * own.columns * sizes.projection(f, i, own.name).bits / 8
            for i, (sizes, enter, back) in enumerate(self._layers)
            for own in (*enter, back)
        )
        rows = c.vocab_size * inner * (1 + f.head_weight_bits / 8)
        mixed = max(b.columns * b.taken + c.d_model * (b.blocks > 1) for *_, b in self._layers)
        streams = self.tokens * (c.d_model * 4 * 4 + mixed * 4)
        return {"parts": int(1.02 * (layers + rows)), "streams": streams}

    @property
    def flops(self) -> tuple[float, float]:
        """Floating-point operations on streams of tokens, and on weights.

        Those in float64 count twice.
        """
        c, f, t = self.config, self.formats, self.tokens
        inner, streams, weights = f.in_channels(c.d_model), 0.0, 0.0
        for sizes, enter, back in self._layers:
            seen = t + self._compared * sizes.out_normed
            for own in (*enter, back):
                n, cross = own.columns, c.d_model if own is back else own.columns
                streams += 2.0 * seen * own.read * n
                streams += 2.0 * t * own.taken * n * (0.56 * n + cross)
                weights += 8.0 * own.rows * n * n + 4.0 * own.blocks * n**3
                if own.blocks > 1:  # moments of all tokens
                    streams += 2.0 * t * (own.taken if own is back else 1) * n * n
        streams += 2.0 * t * inner * 1.56 * inner
        weights += 8.0 * c.vocab_size * inner * inner
        return streams, weights * self.learns

    @property
    def elements(self) -> float:
        """Values that pass through memory or the integer path, in billions of simple steps."""
        c, f, t = self.config, self.formats, self.tokens
        inner = f.in_channels(c.d_model)
        every = [own for _, enter, back in self._layers for own in (*enter, back)]
        weights: float = sum(own.rows * own.columns for own in every) + c.vocab_size * inner
        search = (150 if self.learns else 20) * weights + 40 * c.vocab_size * inner
        if self._compared:
            normed = [back.columns for sizes, _, back in self._layers if sizes.out_normed]
            search += 600 * ROWS * sum(normed)
        passing = [sum(own.read for own in enter) for _, enter, _ in self._layers]
        passing += [back.taken * back.columns for *_, back in self._layers]
        stream = 50 * t * sum(passing)
        return (search + stream + 50 * self._learned) / 1e9

    def seconds(self, speed: float) -> float:
        """Estimated time at ``speed`` floating-point operations per second of large products."""
        streams, weights = self.flops
        products = streams / STREAMS[has_fast_products()] + weights / WEIGHTS
        return START + products / speed + ELEMENT * self.elements

    def warnings(self) -> list[str]:
        """Warnings: settings that work, but cost accuracy."""
        widest = max(back.columns for *_, back in self._layers)
        if not self.learns or self.tokens >= widest:
            return []
        wanted = math.ceil(ENOUGH * widest / self.seqlen)
        sentence = (
            f"{self.tokens:,} calibration tokens say nothing about most directions of the "
            f"{widest:,} inputs of out_proj; {wanted * self.seqlen:,} would do "
            f"(--sequences {wanted} --seqlen {self.seqlen})"
        )
        return [sentence]

    def check(self, journal: Path | None) -> None:
        """Refuse before the work what would fail on the way.

        Raises
        ------
        InputError
            If memory does not suffice, or the disk for what ``journal`` does not hold yet.
        """
        have = available_memory()
        if self.memory > have:
            raise InputError(
                f"this needs about {self.memory / GB:.1f} GB of memory and {have / GB:.1f} GB are "
                f"free; {self._reduce()}"
            )
        if journal is not None:
            space = os.statvfs(journal.parent)
            held = sum(file.stat().st_size for file in journal.glob("*"))
            free, need = space.f_bavail * space.f_frsize, sum(self.disk.values()) - held
            if need > free:
                raise InputError(
                    f"the journal in {journal.parent} needs about {need / GB:.1f} GB more and "
                    f"{free / GB:.1f} GB are free; make room, or lower --sequences"
                )

    def _reduce(self) -> str:
        rows = max(sum(each.read for each in enter) for _, enter, _ in self._layers)
        if self.seqlen * rows > VALUES:
            return f"lower --seqlen to {VALUES // rows} or free memory"
        return "close other programs, or take a computer with more"


def available_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its control group."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(x.split() for x in (group / "memory.stat").read_text().splitlines())
        used -= int(stat["inactive_file"])  # cached files, which make room
    except (OSError, ValueError, KeyError):  # "max", or none
        return free
    return min(free, max(0, limit - used))


def sampling_memory(config: ModelConfig, sequences: int, seqlen: int) -> int:
    """Bytes of the float model, and of its states before and after a token of all sequences."""
    values = sum(math.prod(shape) for _, shape in expected(config))
    for sizes in config.layers:
        integers = kind(sizes.kind).integers
        tokens = seqlen if integers.tokens(sizes, Formats()) else 1
        values += 2 * sequences * tokens * integers.float_values(sizes)
    return PROCESS + 4 * values


def choose_device(name: str) -> torch.device:
    """Device of all float work: ``auto`` is the first of cuda, mps and cpu that is there.

    Raises
    ------
    InputError
        If it is not there.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((each for each, there in found.items() if there), "cpu")
    family, _, number = name.partition(":")
    if family not in (*found, "cpu") or (":" in name and not number.isdecimal()):
        raise InputError(f"no device {name!r}; give auto, cpu, cuda or mps")
    if not found.get(family, True) or int(number or 0) >= max(1, torch.cuda.device_count()):
        raise InputError(f"torch finds no {name} device on this machine; try --torch-device cpu")
    return torch.device(name)


def flops_per_second(device: torch.device) -> float:
    """Speed of matrix products in float32, measured in a moment."""
    a = torch.ones(1024, 1024, device=device)
    (a @ a).sum().item()
    start = time.perf_counter()
    for _ in range(3):
        (a @ a).sum().item()
    return 3 * 2 * 1024**3 / (time.perf_counter() - start)
