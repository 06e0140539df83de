"""Kinds of mixers that have kernels, found by their folders, and kinds of saturation.

``setup.py`` runs this file to write what C++ needs; it imports nothing of the project.
"""

import re
from pathlib import Path

__all__ = ["headers", "kinds", "losses", "names"]

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

    Losses of every model come first, then the ones that each kind declares with ``LOSSES``. Kinds
    with a loss of one name share its counter.

    Raises
    ------
    ValueError
        If a kind declares none.
    """
    found = list(COMMON)
    for kind in kinds():
        path = BLOCKS / kind / "kernels.hpp"
        declared = re.findall(r"^LOSSES\(([^)]*)\)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if not declared:
            raise ValueError(f"{path} has no LOSSES(...): names of what may saturate")
        found += [name.strip() for each in declared for name in each.split(",")]
    return tuple(dict.fromkeys(found))


def names() -> str:
    """Kinds and losses, as a library says for which ones it was compiled."""
    return f"{' '.join(kinds())}; {' '.join(losses())}"


def headers() -> dict[str, str]:
    """Texts of ``kinds.hpp`` and ``mixers.hpp`` by name."""
    constants = [f"LOST_{name.replace('.', '_').upper()}" for name in losses()]
    numbers = [f"KIND_{name.upper()}" for name in kinds()]
    includes = [f'#include "lightmamba/blocks/{kind}/kernels.hpp"' for kind in kinds()]
    each = [f"X({kind}, {kind.title().replace('_', '')}Phases)" for kind in kinds()]
    return {
        "kinds.hpp": f"""\
#pragma once
#define KINDS_TEXT "{names()}"
namespace lightmamba {{
enum Kind {{ {", ".join(numbers)}, N_KINDS }};
enum Lost {{ {", ".join(constants)}, LOST_KINDS }};  // what saturated
}}
""",
        "mixers.hpp": "\n".join([*includes, f"#define EACH_MIXER(X) {' '.join(each)}", ""]),
    }
