// 2^-t by table. Source: numerics/tables.py (Exp2).
#pragma once
#include "arithmetic.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

// t with 24 fractional bits, not negative; the result has as many.
INLINE int64_t exp2_below(const Tables& table, int64_t t) {
    constexpr int64_t TOP = (int64_t(32) << 24) - 1, ONE = (1 << 24) - 1;
    const int64_t power = t < TOP ? t : TOP, bits = table.exp2_bits;
    const int64_t segment = (power & ONE) >> bits, rest = power & ((1 << bits) - 1);
    const int64_t value = interpolate(table.exp2_base[segment], table.exp2_delta[segment], rest, bits);
    return saturate(round_shift(value, power >> 24), 0, ONE);
}

}  // namespace
}  // namespace lightmamba
