"""``lightmamba estimate``."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lightmamba.arch.target import Target, target_names
from lightmamba.cli.models import open_sizes
from lightmamba.cli.show import detail, fields, figure, say, shares, table, working
from lightmamba.common.errors import InputError
from lightmamba.hardware.compiler.plan import for_kinds
from lightmamba.hardware.estimate import Estimate, estimate
from lightmamba.hardware.estimate.objectives import device_share

__all__ = ["run"]

NAMES = {"bram18": "BRAM, 18 kbit"}  # of cells of a device
PASSES = {"verify": "verify, all drafts accepted"}


def run(args: argparse.Namespace) -> dict[str, Any]:
    config, formats, _ = open_sizes(args.model, args.format)
    target = _with_tokens(for_kinds(Target.load(args.target), config.kinds), args.tokens)
    with working("estimating (half a minute, the first time)"):
        found = estimate(config, formats, target, context=args.context)
    _show(found, target, f"{Path(args.model).name} on {target.name}")
    return _plain(found)


def _with_tokens(target: Target, tokens: int | None) -> Target:
    """The target with another number of tokens in a pass."""
    if tokens in (None, target.machine.tokens):
        return target
    try:
        return replace(target, machine=replace(target.machine, tokens=tokens))
    except ValueError as error:
        fewer, other = int(tokens or 0) < target.machine.tokens, target.name.rsplit("-", 1)[0]
        hint = f"; try --target {other}" if fewer and other in target_names() else ""
        raise InputError(f"--tokens {tokens} on target {target.name}: {error}{hint}") from error


def _plain(found: Estimate) -> dict[str, Any]:
    per_joule = found.energy.tokens_per_joule if found.energy else None
    return {
        "tokens_per_second": found.tokens_per_second,
        "cycles_per_token": found.cycles,
        "context": found.context,
        "prompt_cycles_per_token": found.prompt_cycles,
        "prefill_tokens_per_second": found.mode("prefill").tokens_per_second,
        "batch_tokens_per_second": found.mode("batch").tokens_per_second,
        "pass_cycles": {mode: found.mode(mode).cycles for mode in found.kinds},
        "passes": {mode: _pass(found.mode(mode)) for mode in found.kinds},
        "bytes_per_token": sum(found.channel_bytes.values()),
        "bandwidth_utilization": found.bandwidth_utilization,
        "bound": found.bound,
        "bound_cycles": found.bound_cycles,
        "stalls": dict(found.stalls),
        "channels": {
            name: {
                "bytes": moved,
                "cycles": found.channel_cycles[name],
                "nominal_bytes_per_cycle": found.nominal_bytes_per_cycle[name],
            }
            for name, moved in found.channel_bytes.items()
        },
        "units": dict(found.unit_cycles),
        "resources": None
        if found.area_unknown
        else {
            "total": asdict(found.total),
            "blocks": {name: asdict(amount) for name, amount in found.resources.items()},
            "from_one_token": "batch" in found.modes,
        },
        "area_unknown": found.area_unknown or None,
        "tokens_per_joule": per_joule and per_joule[1],
        "tokens_per_joule_range": per_joule and [per_joule[0], per_joule[2]],
    }


def _pass(found: Estimate) -> dict[str, Any]:
    """Tokens, cycles and bottleneck of each kind of pass."""
    return {
        "tokens": found.tokens,
        "cycles": found.cycles,
        "tokens_per_second": found.tokens_per_second,
        "bound": found.bound,
        "bound_cycles": found.bound_cycles,
        "channels": dict(found.channel_cycles),
        "units": dict(found.unit_cycles),
        "joules_per_token": found.energy and found.energy.joules[1],
    }


def _show(found: Estimate, target: Target, title: str) -> None:
    """Tables: the token, the bottleneck, what the lanes do in each cycle, and the area."""
    joule = found.energy and found.energy.tokens_per_joule[1]
    context = {"context": f"{found.context:,} tokens"} if found.context else {}
    fields(title, {
        **context, "tokens per second": found.tokens_per_second, "cycles per token": found.cycles,
        "bytes per token": sum(found.channel_bytes.values()),
        "share of the memory bandwidth": found.bandwidth_utilization,
        "busiest": f"{found.bound.replace('_', ' ')}, {figure(found.bound_cycles)} cycles",
        "tokens per joule": joule,
    })  # fmt: skip
    if found.area_unknown:
        detail(found.area_unknown)
    else:
        _area(found, target)
    table("cycles per token, by what the lanes do", ("", "cycles", "%"),
          shares(found.stalls, found.cycles))  # fmt: skip
    busy = {**found.unit_cycles, **grouped(found.channel_cycles)}
    most = dict(sorted(busy.items(), key=lambda item: -item[1])[:8])
    table("busiest channels and units", ("", "cycles", "%"),
          shares(most, found.cycles))  # fmt: skip
    passes = [(mode, found.mode(mode)) for mode in found.kinds]
    table("passes", ("", "tokens", "cycles", "tokens/s", "busiest"),
          [(PASSES.get(mode, mode), p.tokens, p.cycles, figure(p.tokens_per_second),
            p.bound.replace("_", " ")) for mode, p in passes])  # fmt: skip
    say(f"{figure(found.tokens_per_second)} tokens per second")


def _area(found: Estimate, target: Target) -> None:
    """Table of the cells, in per cent of the device where the target names one."""
    device, cells = target.resources, asdict(found.total)
    names = {cell: NAMES.get(cell, cell.upper()) for cell in cells}
    if device is None:
        table("area", ("", "cells"), [(names[n], math.ceil(cells[n])) for n in cells])
        return
    share, fullest = device_share(found.total, device)
    has = asdict(device)
    rows = [
        (names[n], math.ceil(count), has[n], 100 * count / has[n] if has[n] else None)
        for n, count in cells.items()
    ]
    most = f"{share:.0%} of its {names[fullest]}"
    fits = f"fits, with {most}" if share <= 1 else f"does not fit: {most}"
    table(f"area on the device of {target.name}: {fits}", ("", "cells", "device", "%"), rows)


def grouped(cycles: Mapping[str, float]) -> dict[str, float]:
    """One entry for channels of a name and a number, such as hbm0 and hbm1, that work alike."""
    alike: dict[tuple[str, float], list[str]] = {}
    for name, count in cycles.items():
        alike.setdefault((name.rstrip("0123456789"), count), []).append(name)
    return {
        names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, each": count
        for (_, count), names in alike.items()
    }
