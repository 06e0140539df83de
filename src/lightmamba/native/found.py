"""Kinds of mixers that have kernels, found by their folders, and kinds of saturation.

``setup.py`` runs this file to write what C++ needs; it imports nothing of the project.
"""

import re
from pathlib import Path

__all__ = ["headers", "kinds", "losses"]

BLOCKS = Path(__file__).parent.parent / "blocks"
COMMON = (
    "embedding", "clipped", "in_proj.scale", "in_proj", "hadamard", "out_proj.scale", "out_proj",
    "residual", "head.scale", "head",
)  # fmt: skip


def kinds() -> tuple[str, ...]:
    """Names of the kinds with a ``kernels.hpp``, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in BLOCKS.glob("*/kernels.hpp")))


def losses() -> tuple[str, ...]:
    """Kinds of saturation, in the order of the kernels' counters.

    Those of every model come first, then those that each kind declares with ``LOSSES``.
    """
    found = list(COMMON)
    for kind in kinds():
        text = (BLOCKS / kind / "kernels.hpp").read_text(encoding="utf-8")
        for declared in re.findall(r"^LOSSES\((.*)\)$", text, re.MULTILINE):
            found += [name.strip() for name in declared.split(",")]
    return tuple(found)


def headers() -> dict[str, str]:
    """Texts of ``kinds.hpp`` and ``mixers.hpp`` by name."""
    constants = [f"LOST_{re.sub(r'[.]', '_', name).upper()}" for name in losses()]
    numbers = [f"KIND_{name.upper()}" for name in kinds()]
    text = f"{' '.join(kinds())}; {' '.join(losses())}"
    includes = [f'#include "lightmamba/blocks/{kind}/kernels.hpp"' for kind in kinds()]
    each = [f"X({kind}, {kind.capitalize()}Phases)" for kind in kinds()]
    return {
        "kinds.hpp": f"""\
#pragma once
#define KINDS_TEXT "{text}"
namespace lightmamba {{
enum Kind {{ {", ".join(numbers)}, N_KINDS }};
enum Lost {{ {", ".join(constants)}, LOST_KINDS }};  // what saturated
}}
""",
        "mixers.hpp": "\n".join([*includes, f"#define EACH_MIXER(X) {' '.join(each)}", ""]),
    }
