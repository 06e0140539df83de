"""Matrix products in float32 by the library that is the faster one on this processor.

On x86 torch multiplies by MKL, which does not use the whole width of the vectors of an AMD
processor. There oneDNN, which torch has too, takes half the time. Both are products in float32.
"""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["FastLinear", "has_fast_products", "product"]

LEAST = 1 << 26  # multiplications, below which the call costs more than it saves
CPUINFO = Path("/proc/cpuinfo")


@cache
def has_fast_products() -> bool:
    """Whether oneDNN is there, and a processor that MKL does not know."""
    try:
        about = CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and "AuthenticAMD" in about and "avx512f" in about


def product(x: Tensor, w: Tensor) -> Tensor:
    """x @ w.T of (..., n) and (columns, n)."""
    if not (has_fast_products() and _gains(x, w)):
        return F.linear(x, w)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, w, None, "none", [], "")
    return found


class FastLinear(TorchFunctionMode):
    """Linear layers without a bias by :func:`product`, inside of ``with``."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        given = kwargs or {}
        if func is F.linear and not given and (len(args) == 2 or args[2] is None):
            return product(*args[:2])
        return func(*args, **given)


def _gains(x: Tensor, w: Tensor) -> bool:
    """Whether oneDNN does this product, and in less time."""
    plain = all(each.dtype == torch.float32 and each.device.type == "cpu" for each in (x, w))
    learns = torch.is_grad_enabled() and (x.requires_grad or w.requires_grad)
    return plain and not learns and x.ndim > 1 and x.numel() * len(w) >= LEAST
