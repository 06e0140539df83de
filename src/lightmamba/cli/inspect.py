"""``lightmamba inspect``."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="quantized file, folder, or hub id")
    parser.add_argument("--plot", type=Path, metavar="PNG",
                        help="draw ranges by channel before and after rotation")  # fmt: skip
    parser.add_argument("--layer", type=int, help="layer to draw (the one with the worst peak)")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE", help="for a checkpoint without")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--seed", type=int, default=0, help="of the rotation (0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.models import is_file
    from lightmamba.errors import InputError

    if is_file(args.model):
        if args.plot:
            raise InputError(
                f"{args.model} holds integers only; --plot needs the float checkpoint: "
                f"lightmamba inspect CKPT --plot {args.plot}"
            )
        return _file(args)
    return _checkpoint(args)


def _config(config: Any) -> dict[str, Any]:
    sizes = asdict(config)
    sizes["dt_limit"] = [repr(x) for x in config.dt_limit]
    return sizes


def _file(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.cli.show import fields, table
    from lightmamba.qmodel import load

    model = load(Path(args.model))
    result: dict[str, Any] = {
        "kind": "quantized model",
        "config": _config(model.config),
        "formats": asdict(model.formats),
        "valid_vocab": model.valid_vocab,
        "bytes_per_token": model.bytes_per_token(),
        "runs_in_gates": model.plain,
        "residual_exp": model.residual_exp,
        "logit_exp": model.logit_exp,
        "layers": [asdict(layer.exponents) for layer in model.layers],
        "origin": model.origin,
    }
    if not args.json:
        fields("shape", result["config"])
        fields("formats", result["formats"])
        parts = model.bytes_per_token()
        fields("bytes that one token moves", {**parts, "together": sum(parts.values())})
        names = list(asdict(model.layers[0].exponents))
        rows = [(f"layer {i}", *layer.values()) for i, layer in enumerate(result["layers"])]
        table("static exponents (value = q * 2**exponent)", ("", *names), rows)
        errors = sorted(model.origin.get("errors", {}).items(), key=lambda item: -item[1])
        table("relative squared error of the outputs", ("tensor", "error"), errors)
        print(model.origin.get("recipe", ""), end="")
    return result


def _checkpoint(args: argparse.Namespace) -> dict[str, Any]:
    from lightmamba.checkpoint import load_checkpoint
    from lightmamba.cli.show import fields

    checkpoint = load_checkpoint(args.model, revision=args.revision, tokenizer=args.tokenizer)
    result: dict[str, Any] = {
        "kind": "float checkpoint",
        "config": _config(checkpoint.config),
        "parameters": sum(p.numel() for p in checkpoint.model.parameters()),
        "valid_vocab": checkpoint.valid_vocab,
        "tokenizer": checkpoint.tokenizer is not None,
        "source": asdict(checkpoint.source),
    }
    if args.plot:
        result |= _plot(args, checkpoint)
    if not args.json:
        fields("shape", result["config"])
        flat = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
        fields("checkpoint", {**flat, **checkpoint.source.hashes})
        if args.plot:
            fields("largest activation over the rms of the channels' maxima", result["peaks"])
            print(args.plot)
    return result


def _plot(args: argparse.Namespace, checkpoint: Any) -> dict[str, Any]:
    from lightmamba.cli.plot import plot_ranges
    from lightmamba.errors import InputError
    from lightmamba.quantize import Calibration
    from lightmamba.quantize.ranges import channel_ranges, rotate

    ids, _ = Calibration(sequences=8, seqlen=256).tokens(checkpoint, args.seed)
    before = channel_ranges(checkpoint.model, ids)
    rotate(checkpoint.model, args.seed)
    after = channel_ranges(checkpoint.model, ids)
    layer = args.layer
    if layer is None:
        layer = max(range(len(before)), key=lambda i: before[i]["out_proj"].peak)
    if not 0 <= layer < len(before):
        raise InputError(f"--layer must be 0..{len(before) - 1}, not {layer}")
    plot_ranges(args.plot, before[layer], after[layer], f"{args.model}, layer {layer}")
    peaks = {}
    for name in ("in_proj", "out_proj"):
        peaks[f"{name} before"] = max(x[name].peak for x in before)
        peaks[f"{name} after"] = max(x[name].peak for x in after)
    return {"plot": str(args.plot), "layer": layer, "peaks": peaks}
