"""The package in five functions: load, quantize, generate, compile, simulate."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.model.data import BUNDLED, bundled_checkpoint, bundled_file
from lightmamba.text.model import Model

if TYPE_CHECKING:
    from lightmamba.arch.config import ArchConfig
    from lightmamba.arch.target import Target
    from lightmamba.device.sim import Simulation
    from lightmamba.hardware.machine.artifact import Artifact
    from lightmamba.quantization import Calibration, FileRun

__all__ = [
    "Model", "compile", "generate", "load", "quantization_of", "quantize", "simulate", "verilog_of",
]  # fmt: skip


def load(path: str | Path = BUNDLED, *, threads: int | None = None) -> Model:
    """Open a quantized file, or the model of a build.

    Parameters
    ----------
    path
        The file or the folder; "bundled" is the model that the package ships.
    threads
        CPU threads; by default all cores.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    file = Path(bundled_file(str(path)))
    if str(path).count("/") == 1 and not file.exists():
        raise InputError(
            f"there is no file {path}; if it is a model on the hub, quantize it: "
            f'lightmamba.quantize("{path}", "m.safetensors")'
        )
    return Model.read(file, threads=threads or os.cpu_count() or 1)


def quantize(
    checkpoint: str | Path = BUNDLED, output: str | Path | None = None, *, recipe: str = "w4a4",
    calibration: str | Path | None = None, sequences: int = 160, seqlen: int = 512, seed: int = 0,
    revision: str | None = None, tokenizer: str | Path | None = None, threads: int | None = None,
    force: bool = False, restart: bool = False,
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
    tokenizer
        A tokenizer.json, for a checkpoint without one.
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

    from lightmamba.model.checkpoint import open_checkpoint
    from lightmamba.quantization import Calibration, Recipe, quantize_checkpoint

    text = None if calibration is None else Path(calibration)
    chosen, cores = Calibration(text, None, sequences, seqlen), threads or os.cpu_count() or 1
    words = None if tokenizer is None else Path(tokenizer)
    if output is not None:
        file = Path(output)
        if file.exists() and not force:
            raise InputError(f"{file} exists; give another path, or force=True to replace it")
        check_output(file, force=True)
        job = quantization_of(
            checkpoint, file, recipe=recipe, calibration=chosen, seed=seed, revision=revision,
            tokenizer=words, threads=cores, restart=restart,
        )  # fmt: skip
        job.run(force=force, progress=progress)
        return load(output, threads=cores)
    torch.set_num_threads(cores)
    steps = Recipe.load(recipe)
    place = bundled_checkpoint(str(checkpoint))
    found = open_checkpoint(place, revision=revision, tokenizer=words)
    made = quantize_checkpoint(found, steps, chosen, seed=seed, threads=cores, progress=progress)
    return Model(made, cores)


def quantization_of(
    checkpoint: str | Path,
    output: Path,
    *,
    recipe: str,
    exceptions: str | None = None,
    calibration: "Calibration",
    seed: int = 0,
    revision: str | None = None,
    tokenizer: Path | None = None,
    threads: int = 1,
    device: str = "cpu",
    restart: bool = False,
) -> "FileRun":
    """Quantization of a checkpoint to a file, whose plan can be read before it is run.

    Parameters
    ----------
    checkpoint, output, recipe, seed, revision, threads, restart
        As of :func:`quantize`.
    exceptions
        TOML file of ``[[exception]]`` tables that the recipe gets.
    calibration
        What ranges are measured on.
    tokenizer
        A tokenizer.json, for a checkpoint without one.
    device
        Device of torch.

    Raises
    ------
    InputError
        If the checkpoint or the recipe cannot be read.
    """
    import torch

    from lightmamba.model.checkpoint import open_checkpoint
    from lightmamba.quantization import FileRun, Recipe

    torch.set_num_threads(threads)
    steps = Recipe.load(recipe)
    steps = steps if exceptions is None else steps.also(exceptions)
    place = bundled_checkpoint(str(checkpoint))
    found = open_checkpoint(place, revision=revision, tokenizer=tokenizer)
    ids, kind = calibration.tokens(found, seed)
    return FileRun(found, steps, ids, kind, output, seed, threads, device, restart=restart)


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
    model: Model | str | Path,
    target: "Target | str" = "tiny",
    path: str | Path = "build",
    *,
    verilog: bool = True,
    force: bool = False,
    kinds: Collection[str] = (),
    context: int | None = None,
    sequences: int | None = None,
    hardware: "ArchConfig | None" = None,
    progress: Callable[[int, int], None] | None = None,
) -> "Artifact":
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
    sequences
        Sequences of that many tokens that memory has room for; by default one more than a pass has
        tokens.
    hardware
        Build parameters of hardware that exists, of a model at least as large.
    progress
        Called with (done, total).

    Raises
    ------
    InputError
        If the target cannot run the model, or the folder exists or cannot be written.
    """
    from lightmamba.arch.target import Target
    from lightmamba.hardware.compiler import build

    opened = _opened(model)
    return build(
        opened.quantized, target if isinstance(target, Target) else Target.load(target), Path(path),
        source=opened.source, force=force, kinds=kinds, context=context, sequences=sequences,
        hardware=hardware, verilog=verilog_of if verilog else None, progress=progress,
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
    from lightmamba.device.sim import open_golden
    from lightmamba.device.sim import simulate as run

    opened = open_golden(Path(build) if isinstance(build, str | Path) else build.path)
    try:
        return run(opened, list(prompt_ids), len(prompt_ids) + tokens - 1)
    finally:
        opened.device.simulator.close()
