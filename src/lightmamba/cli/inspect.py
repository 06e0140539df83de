"""``lightmamba inspect``."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from lightmamba.blocks import kind
from lightmamba.cli.models import is_file
from lightmamba.cli.show import fields, say, table
from lightmamba.common.errors import InputError
from lightmamba.common.files import check_output
from lightmamba.hardware.compiler import read_build
from lightmamba.hardware.machine.artifact import MANIFEST
from lightmamba.model.data import bundled_checkpoint, bundled_file
from lightmamba.model.qmodel import fingerprint, load
from lightmamba.text.chat import tokenizer_config
from lightmamba.text.model import Model

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.layer is not None and not args.plot:
        raise InputError("--layer chooses what --plot draws; give --plot PNG too")
    args.model = (bundled_checkpoint if args.plot else bundled_file)(args.model)
    if args.plot:
        check_output(args.plot, force=args.force)
    if args.save_tokenizer is not None:
        _save_tokenizer(args)
    if (Path(args.model) / MANIFEST).is_file():
        if args.plot:
            raise InputError(f"{args.model} is a build; --plot needs the float checkpoint")
        return _build(args)
    if is_file(args.model):
        if args.plot:
            raise InputError(
                f"{args.model} holds integers only; --plot needs the float checkpoint: "
                f"lightmamba inspect CKPT --plot {args.plot}"
            )
        return _file(args)
    return _checkpoint(args)


def _save_tokenizer(args: argparse.Namespace) -> None:
    """Write tokenizer.json and tokenizer_config.json of a quantized file or build."""
    path, folder = Path(args.model), args.save_tokenizer
    if not ((path / MANIFEST).is_file() or is_file(args.model)):
        raise InputError(
            f"--save-tokenizer is for a quantized file or a build; transformers reads the "
            f"tokenizer of the checkpoint {args.model} where it is"
        )
    model = Model.read(path)
    quantized = model.quantized
    config = tokenizer_config(quantized.special_ids, quantized.chat_template, model.tokenizer)
    contents = {
        "tokenizer.json": quantized.tokenizer or b"",
        "tokenizer_config.json": f"{json.dumps(config, indent=2)}\n".encode(),
    }
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give the name of a folder")
    if not folder.exists():
        check_output(folder, force=False)
        folder.mkdir()
    for name in contents:
        check_output(folder / name, force=args.force)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    say(folder)


def _build(args: argparse.Namespace) -> dict[str, Any]:
    artifact = read_build(Path(args.model), again=True)
    result: dict[str, Any] = {
        "kind": "build",
        "target": artifact.target.name,
        "clock_mhz": artifact.target.clock_mhz,
        "order": artifact.order,
        "arch": artifact.arch.to_dict(),
        "image_bytes": artifact.image_bytes,
        "instructions": len(artifact.program()),
        "regions": [asdict(region) for region in artifact.regions],
        "model": dict(artifact.model),
        "files": {name: asdict(stored) for name, stored in artifact.files.items()},
    }
    fields(f"build parameters, target {artifact.target.name}", result["arch"])
    rows = [(r.name, r.channel, f"{r.address:#x}", r.bytes) for r in artifact.regions]
    table("memory", ("region", "channel", "address", "bytes"), rows)
    console_line = f"{len(artifact.files)} files, all hashes verified"
    fields("program and files", {"instructions": result["instructions"], "": console_line})
    return result


def _file(args: argparse.Namespace) -> dict[str, Any]:
    sha256 = fingerprint(Path(args.model), again=True)
    model = load(Path(args.model))
    result: dict[str, Any] = {
        "kind": "quantized model",
        "sha256": sha256,
        "config": model.config.as_dict(),
        "formats": model.formats.as_dict(),
        "valid_vocab": model.valid_vocab,
        "bytes_per_token": model.bytes_per_token(),
        "runs_on_hardware": model.plain
        and all(kind(name).has_hardware for name in model.config.kinds),
        "residual_exp": model.residual_exp,
        "logit_exp": model.logit_exp,
        "layers": [asdict(cast(Any, layer.mixer).exponents) for layer in model.layers],
        "origin": model.origin,
    }
    fields("hash of all contents, verified", {"sha256": sha256})
    _shape(result["config"])
    exceptions = result["formats"].get("exceptions", ())
    fields("formats", {k: v for k, v in result["formats"].items() if k != "exceptions"})
    if exceptions:
        table("exceptions", tuple(exceptions[0]), [tuple(e.values()) for e in exceptions])
    parts = model.bytes_per_token()
    fields("bytes read and written per token", {**parts, "total": sum(parts.values())})
    for known in model.config.kinds:
        same = [
            values for values, sizes in zip(result["layers"], model.config.layers, strict=True)
            if sizes.kind == known
        ]  # fmt: skip
        rows = [(name, " ".join(str(layer[name]) for layer in same)) for name in same[0]]
        title = f"static exponents of {known} layers (value = q * 2**exponent)"
        table(title, ("", "layer by layer"), rows)
    errors = sorted(model.origin.get("errors", {}).items(), key=lambda item: -item[1])
    table("relative squared error of the outputs", ("tensor", "error"), errors)
    say(model.origin.get("recipe", ""), end="")
    return result


def _shape(config: dict[str, Any]) -> None:
    """Sizes of the model, then of each run of equal layers."""
    fields("shape", {name: value for name, value in config.items() if name != "layers"})
    first = 0
    for run in config["layers"]:
        last = first + run["count"] - 1
        place = f"layer {first}" if first == last else f"layers {first} to {last}"
        sizes = {name: value for name, value in run.items() if name not in ("kind", "count")}
        fields(f"{place}: {run['kind']}", sizes)
        first = last + 1


def _checkpoint(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from lightmamba.model.checkpoint import load_checkpoint

    torch.set_num_threads(args.threads)
    checkpoint = load_checkpoint(args.model, revision=args.revision, tokenizer=args.tokenizer)
    result: dict[str, Any] = {
        "kind": "float checkpoint",
        "config": checkpoint.config.as_dict(),
        "parameters": sum(p.numel() for p in checkpoint.model.parameters()),
        "valid_vocab": checkpoint.valid_vocab,
        "tokenizer": checkpoint.tokenizer is not None,
        "source": asdict(checkpoint.source),
    }
    layers = checkpoint.config.n_layer
    if args.layer is not None and not 0 <= args.layer < layers:
        raise InputError(f"--layer must be 0 to {layers - 1}, not {args.layer}")
    if args.plot:
        result |= _plot(args, checkpoint)
    _shape(result["config"])
    flat = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
    fields("checkpoint", {**flat, **checkpoint.source.hashes})
    if args.plot:
        title = "largest activation over the rms of the channels' maxima, worst layer"
        fields(title, result["peaks"])
        say(args.plot)
    return result


def _plot(args: argparse.Namespace, checkpoint: Any) -> dict[str, Any]:
    from lightmamba.study.plots.ranges import ranges
    from lightmamba.study.plots.style import png
    from lightmamba.study.report.measure import measure_outliers

    name = Path(args.model).resolve().name if Path(args.model).exists() else args.model
    found = measure_outliers(checkpoint, name, seed=args.seed, layer=args.layer)
    pairs: dict[str, Any] = {}
    for part, inputs in found.panels.items():
        pairs |= {f"input of {part}": inputs, f"weight of {part}": found.weights[part]}
    figure = ranges(pairs)
    title = f"{name}, layer {found.layer}: magnitudes by channel over their rms"
    figure.suptitle(title, ha="left", x=0)
    png(figure, args.plot)
    peaks = {
        f"{part} {when}": peak
        for part, pair in found.peaks.items()
        for when, peak in zip(("before", "after"), pair, strict=True)
    }
    return {"plot": str(args.plot), "layer": found.layer, "peaks": peaks}
