"""Random integers named by a seed and a counter: the same on every machine, in any order."""

__all__ = ["philox", "uniform_below"]


def uniform_below(bound: int, *, seed: int, row: int, draw: int) -> int:
    """Draw an integer from 0 to ``bound - 1``, each exactly as likely.

    The high half of ``word * bound``, where word is the first of :func:`philox` with key (seed, 0)
    and counter (draw, row, attempt, 0); words whose low half is below ``2**64 % bound`` are
    rejected for the next attempt (Lemire: Fast random integer generation in an interval, 2019). So
    the draw falls at about the same share of nearly equal weights. ``bound`` is 1 to 2**64.
    """
    attempt = 0
    while True:
        product = philox((draw, row, attempt, 0), (seed, 0))[0] * bound
        if product % (1 << 64) >= (1 << 64) % bound:
            return product >> 64
        attempt += 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Compute one block of Philox4x64-10, four random words of 64 bits.

    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011).
    """
    mask = (1 << 64) - 1
    (a, b, c, d), (key0, key1) = counter, key
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b = (second >> 64) ^ b ^ key0, second & mask
        c, d = (first >> 64) ^ d ^ key1, first & mask
        key0, key1 = (key0 + 0x9E3779B97F4A7C15) & mask, (key1 + 0xBB67AE8584CAA73B) & mask
    return a, b, c, d
