"""``lightmamba sweep``."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from lightmamba.cli.arguments import LISTS
from lightmamba.cli.show import detail, progress, say, table
from lightmamba.common.errors import InputError
from lightmamba.common.store import Record
from lightmamba.study.sweep import (
    Entry,
    Plan,
    compared,
    is_done,
    markdown,
    read_plan,
    read_results,
    sweep,
    table_of,
)
from lightmamba.study.sweep.table import by_measure, line_of, sentence

__all__ = ["run"]

LIMITS = ("tokens", "rows")


def run(args: argparse.Namespace) -> dict[str, Any]:

    if args.compare is not None and args.output is not None:
        raise InputError("--compare runs nothing; give two folders: DIR --compare DIR")
    if args.plan is not None and args.plan.is_dir():
        if args.output is not None:
            raise InputError(f"{args.plan} is a folder of results, not a plan; give PLAN.toml")
        records = read_results(args.plan)
        if args.compare is None:
            return _shown(args, args.plan, records)
        return _compare(args, records, read_results(args.compare))
    if args.compare is not None:
        raise InputError("--compare takes two folders of results: DIR --compare DIR")
    return _sweep(args)


def _sweep(args: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    plan = _plan(args)
    if args.output is None:
        raise InputError("give a folder for the results, such as -o sweep")

    with progress("sweeping") as bar:
        found = sweep(
            plan, args.output, address=args.address, workers=args.workers, threads=args.threads,
            progress=bar, tell=lambda record: detail(line_of(record)),
        )  # fmt: skip
    shown = _shown(args, args.output, found.records)
    more = {"kept": found.kept, "done": found.done, "seconds": time.perf_counter() - start}
    return {**shown, **more}


def _plan(args: argparse.Namespace) -> Plan:
    """The plan of a file, or of flags, with the limits of the flags."""
    lists: dict[str, Any] = {f"{n}s": tuple(map(Entry, getattr(args, n))) for n in LISTS}
    given = [name for name in LISTS if lists[f"{name}s"]]
    limits = {name: getattr(args, name) for name in LIMITS if getattr(args, name) is not None}
    if args.plan is None:
        if not given:
            raise InputError(
                "give a plan, such as plan.toml, or flags: --model demo --recipe w4a4 "
                "--text shipped"
            )
        return Plan(**lists, **limits)
    if given:
        raise InputError(f"give {args.plan} or --{given[0]}, not both; write it into the plan")
    return replace(read_plan(args.plan), **limits)


def _shown(args: argparse.Namespace, folder: Path, records: Sequence[Record]) -> dict[str, Any]:
    found = table_of(records)
    failed = [record for record in records if not is_done(record)]
    without = [record for record in records if {"error", "refused"} & set(record.values)]
    codes = {record.made["code"] for record in records}
    (folder / "table.md").write_text(markdown(found, without), encoding="utf-8")
    for name, part in by_measure(records).items():
        header = ("model", "recipe", *part.columns)
        table(name, header, part.lines(), on_stderr=args.output is not None)
    for record in without:
        detail(sentence(record))
    if len(codes) > 1:
        detail(f"these results come from {len(codes)} versions of the code")
    say(folder / "table.md")
    return {
        "output": str(folder),
        "table": str(folder / "table.md"),
        "results": msgspec.to_builtins(list(records)),
        "failed": len(failed),
        "codes": sorted(codes),
        "exit_status": 1 if failed else 0,
    }


def _compare(
    args: argparse.Namespace, before: Sequence[Any], after: Sequence[Any]
) -> dict[str, Any]:

    found = compared(before, after)
    if not found:
        raise InputError(f"{args.plan} and {args.compare} have no figure in common")
    rows = [
        (f"{d.model}, {d.recipe}, {d.column}", d.before, d.after, d.after - d.before, d.error,
         "same" if d.same_inputs else "other")
        for d in found
    ]  # fmt: skip
    table(
        f"{args.plan} and {args.compare}",
        ("", "before", "after", "change", "±", "inputs"),
        rows,
    )
    return {"before": str(args.plan), "after": str(args.compare),
            "differences": [asdict(d) for d in found]}  # fmt: skip
