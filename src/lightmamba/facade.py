"""The package in five functions: load, quantize, generate, compile, simulate."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightmamba.arch.config import ArchConfig
    from lightmamba.common.speed import Speed
    from lightmamba.device.sim import Simulation
    from lightmamba.engine import Engine
    from lightmamba.hardware.machine.artifact import Artifact
    from lightmamba.model.qmodel import QuantizedModel
    from lightmamba.model.tokenizer import Tokenizer

__all__ = ["Model", "compile", "generate", "load", "quantize", "simulate", "verilog_of"]

BUNDLED = "bundled"
SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A quantized model that generates text on the CPU, in exact integers.

    Parameters
    ----------
    quantized : QuantizedModel
        Integers and tables, as in its file.
    threads : int
        CPU threads of the engine.
    source : Path or None
        Its file, if it has one.
    """

    quantized: "QuantizedModel" = field(repr=False)
    threads: int
    source: Path | None = None

    @cached_property
    def engine(self) -> "Engine":
        """The integer engine that runs the model."""
        from lightmamba.engine import Engine

        return Engine(self.quantized, threads=self.threads)

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """The tokenizer of its checkpoint.

        Raises
        ------
        InputError
            If there is none.
        """
        from lightmamba.common.errors import InputError
        from lightmamba.model.tokenizer import Tokenizer

        if self.quantized.tokenizer is None:
            raise InputError("the model has no tokenizer; quantize a checkpoint that has one")
        return Tokenizer.from_bytes(self.quantized.tokenizer)

    def stream(
        self, prompt: str | Sequence[int], *, max_tokens: int = 100, stop: tuple[str, ...] = (),
        seed: int = 0, **sampling: Any,
    ) -> Iterator[str]:  # fmt: skip
        """Pieces of text as they are generated; arguments as of :func:`generate`."""
        import numpy as np

        from lightmamba.text import generate as steps
        from lightmamba.text import sampling_options

        if unknown := sorted(set(sampling) - set(SAMPLING)):
            raise TypeError(f"there is no option {unknown[0]}; sampling has {', '.join(SAMPLING)}")
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else np.asarray(prompt)
        options, _ = sampling_options(self.quantized.generation_config, seed=seed, **sampling)
        ends = self.quantized.special_ids.get("eos", [])
        for step in steps(
            self.engine, ids, max_tokens=max_tokens, sampling=options,
            stop_ids=ends if isinstance(ends, list) else [ends], stop_strings=list(stop),
            tokenizer=self.tokenizer,
        ):  # fmt: skip
            yield step.text

    def speed(self, *, prompt: int = 512, tokens: int = 128, repeats: int = 5) -> "Speed":
        """Tokens per second of a prompt and of generation, as ``lightmamba bench`` measures them.

        Parameters
        ----------
        prompt, tokens
            Tokens of the prompt, and tokens to generate.
        repeats
            Measurements, after one that does not count.

        Raises
        ------
        InputError
            If one of them is below 1.
        """
        from lightmamba.text.greedy import speed_of

        return speed_of(self.engine, prompt=prompt, tokens=tokens, repeats=repeats)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the model to a file.

        Raises
        ------
        InputError
            If the file exists and ``force`` is not given, or cannot be written.
        """
        from lightmamba.model.qmodel import save

        save(self.quantized, Path(path), force=force)


def load(path: str | Path = BUNDLED, *, threads: int | None = None) -> Model:
    """Open a quantized file.

    Parameters
    ----------
    path
        The file; "bundled" is the model that the package ships.
    threads
        CPU threads; by default all cores.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    from lightmamba.common.errors import InputError
    from lightmamba.model.data import demo_file
    from lightmamba.model.qmodel import load as read

    file = demo_file() if str(path) == BUNDLED and not Path(path).exists() else Path(path)
    if str(path).count("/") == 1 and not file.exists():
        raise InputError(
            f"there is no file {path}; if it is a model on the hub, quantize it: "
            f'lightmamba.quantize("{path}", "m.safetensors")'
        )
    return Model(read(file), threads or os.cpu_count() or 1, file)


def quantize(
    checkpoint: str | Path = BUNDLED, output: str | Path | None = None, *, recipe: str = "w4a4",
    calibration: str | Path | None = None, sequences: int = 160, seqlen: int = 512, seed: int = 0,
    revision: str | None = None, threads: int | None = None, force: bool = False,
    restart: bool = False,
    progress: Callable[[float, float], None] | None = None,
) -> Model:  # fmt: skip
    """Quantize a checkpoint.

    Parameters
    ----------
    checkpoint
        Folder or hub id; "bundled" is the checkpoint that the package ships.
    output
        Output file, written layer by layer: an interrupted run resumes. Without one, the model is
        in memory only.
    recipe
        Name of a shipped recipe, or a TOML file.
    calibration
        Text file; by default the shipped novels.
    sequences, seqlen, seed
        Of the calibration.
    revision
        Branch, tag or commit of a hub id.
    threads
        CPU threads; by default all cores.
    force
        Replace the file.
    restart
        Begin again where an interrupted run had other arguments, instead of refusing.
    progress
        Called with (done, total).

    Raises
    ------
    InputError
        If the checkpoint, recipe or text cannot be read, or the file cannot be written.
    """
    import torch

    from lightmamba.common.errors import InputError
    from lightmamba.model.checkpoint import open_checkpoint
    from lightmamba.model.data import demo_checkpoint
    from lightmamba.quantization import Calibration, FileRun, Recipe, quantize_checkpoint

    bundled = str(checkpoint) == BUNDLED and not Path(checkpoint).exists()
    found = open_checkpoint(demo_checkpoint() if bundled else checkpoint, revision=revision)
    text = None if calibration is None else Path(calibration)
    chosen, steps = Calibration(text, None, sequences, seqlen), Recipe.load(recipe)
    cores = threads or os.cpu_count() or 1
    torch.set_num_threads(cores)
    tell = None if progress is None else lambda _, done, total: progress(done, total)
    if output is None:
        made = quantize_checkpoint(found, steps, chosen, seed=seed, threads=cores, progress=tell)
        return Model(made, cores)
    ids, kind = chosen.tokens(found, seed)
    file = Path(output)
    if not file.absolute().parent.is_dir():
        raise InputError(f"there is no folder {file.parent} for {file.name}; make it first")
    if file.exists() and not force:
        raise InputError(f"{file} exists; give another path, or force=True to replace it")
    job = FileRun(found, steps, ids, kind, file, seed, cores, restart=restart)
    job.run(force=force, progress=tell)
    return load(output, threads=cores)


def generate(
    model: Model | str | Path, prompt: str | Sequence[int], *, max_tokens: int = 100,
    stop: tuple[str, ...] = (), seed: int = 0, **sampling: Any,
) -> str:  # fmt: skip
    """Text that follows a prompt, without the prompt.

    Parameters
    ----------
    model
        As :func:`load` or :func:`quantize` gives it, or what :func:`load` takes.
    prompt
        Text to continue, or its token ids.
    max_tokens
        Tokens to generate at most.
    stop
        Strings that end the text, and are left out.
    seed
        Of sampling: the same seed gives the same text.
    **sampling
        ``temperature``, ``top_k``, ``top_p``, ``min_p``, ``repetition_penalty`` (by default those
        of the checkpoint's generation config, else greedy), ``frequency_penalty`` and
        ``presence_penalty``.

    Raises
    ------
    InputError
        If an option is not right, or the model has no tokenizer.
    """
    opened = _opened(model)
    return "".join(opened.stream(prompt, max_tokens=max_tokens, stop=stop, seed=seed, **sampling))


def _opened(model: Model | str | Path) -> Model:
    return model if isinstance(model, Model) else load(model)


def compile(
    model: Model | str | Path, target: str = "tiny", path: str | Path = "build", *,
    verilog: bool = True, force: bool = False, kinds: Collection[str] = (),
    context: int | None = None,
) -> "Artifact":  # fmt: skip
    """Compile a model for an accelerator: memory images, program, register values, Verilog.

    Parameters
    ----------
    model
        As :func:`load` or :func:`quantize` gives it, or what :func:`load` takes.
    target
        Name of a shipped target, or a TOML file.
    path
        Folder to write.
    verilog
        Write the Verilog too, which takes a minute; a simulation does not need it.
    force
        Replace the folder.
    kinds
        Kinds of layers that the hardware has units for; by default those of the model.
    context
        Tokens of a sequence that memory has room for, where layers keep something of every token;
        by default 1,024.

    Raises
    ------
    InputError
        If the target cannot run the model, or the folder exists or cannot be written.
    """
    from lightmamba.arch.target import Target
    from lightmamba.hardware.compiler import build

    opened = _opened(model)
    return build(
        opened.quantized, Target.load(target), Path(path), source=opened.source, force=force,
        kinds=kinds, context=context, verilog=verilog_of if verilog else None,
    )  # fmt: skip


def verilog_of(arch: "ArchConfig") -> str:
    """The Verilog of an accelerator; the compiler itself does not depend on the RTL."""
    from lightmamba.hardware.machine.artifact import build_hash
    from lightmamba.hardware.rtl.top import to_verilog

    return to_verilog(arch, build_hash=build_hash(arch))


def simulate(
    build: "Artifact | str | Path", tokens: int = 4, *, prompt_ids: tuple[int, ...] = (0,)
) -> "Simulation":
    """Run a build in Verilator, and compare every intermediate value with the engine.

    Parameters
    ----------
    build
        As :func:`compile` gives it, or its folder.
    tokens
        Tokens to generate, greedy.
    prompt_ids
        Token ids before them.

    Returns
    -------
    Simulation
        ``cycles_per_token``, ``matches_engine``, and the ``difference`` if there is one.

    Raises
    ------
    InputError
        If it is not a build, or Verilator is missing.
    """
    from lightmamba.device.sim import open_twin
    from lightmamba.device.sim import simulate as run

    opened = open_twin(Path(build) if isinstance(build, str | Path) else build.path)
    try:
        return run(opened, list(prompt_ids), len(prompt_ids) + tokens - 1)
    finally:
        opened.device.simulator.close()
