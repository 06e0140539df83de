"""Block sums straight from the stored integers: for a vector or two, where weights are read once.

Keeping them as float32 for the matrix product pays for many vectors, and takes four times the
memory: 10 GB for 2.7 billion weights.
"""

import numpy as np

from lightmamba.engine.jit import add32, kernel, mul32

__all__ = ["block_sums"]

i32 = np.int32


@kernel
def block_sums(q, weights, block, out):
    """Fill ``out`` (n / block, vectors, rows) with sums over blocks of q times weights.

    ``q`` is (vectors, n) and ``weights`` (rows, n), both int8: a product is at most 2^14 and a
    block has at most 2^10, so that 32 bits hold every sum.
    """
    rows, channels = weights.shape
    for r in range(rows):
        for v in range(len(q)):
            for b in range(channels // block):
                total = i32(0)
                for n in range(b * block, (b + 1) * block):
                    total = add32(total, mul32(i32(weights[r, n]), i32(q[v, n])))
                out[b, v, r] = total
