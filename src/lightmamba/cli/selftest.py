"""``lightmamba selftest``: is this device the accelerator of this build, and right?"""

import argparse
import json
from pathlib import Path
from typing import Any

from lightmamba.cli.devices import open_device
from lightmamba.cli.show import detail, say, working
from lightmamba.common.errors import InputError
from lightmamba.device.boards.selftest import Expected, expected, self_test, steps_of
from lightmamba.hardware.compiler import read_build

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    artifact = read_build(Path(args.build))
    if args.expected is not None:
        wanted = _read(args.expected)
    else:
        with working("computing what must come out"):
            wanted = expected(artifact)
    device = open_device(artifact, args)
    names, steps = steps_of(artifact), []
    with working("testing"):
        for step in self_test(device, artifact, wanted):
            steps.append(step)
            detail(f"{step.name}: {'passed' if step.passed else step.problem}")
    passed = len(steps) == len(names) and all(step.passed for step in steps)
    result: dict[str, Any] = {
        "device": args.device,
        "passed": passed,
        "steps": {step.name: step.passed for step in steps},
        "problem": next((step.problem for step in steps if not step.passed), None),
    }
    if not passed:
        result["exit_status"] = 1
    for name in names[len(steps) :]:
        detail(f"{name}: not run")
    say(f"self-test on {args.device}: {'passed' if passed else 'failed'}")
    return result


def _read(path: Path) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        inner = values.get("self_test", values) if isinstance(values, dict) else values
        return Expected.from_dict(inner)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} does not hold expected results ({error}); "
                         f"make the package again, or leave --expected out") from error  # fmt: skip
