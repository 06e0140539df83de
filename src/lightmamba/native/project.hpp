// Projections: a tile of 16 rows against a few vectors. Source: numerics/linear.py.
//
// Weights lie in panels (dot.hpp) without sign; a correction per group of channels, the same for all
// rows, takes the offset out again.
//
// A block's sum is exact in 32 bits, and so is the scaled sum of a group where the exponents of a
// vector's blocks lie within `Linear.span` octaves (tests/engine/test_described.py); where
// they do not, the group is summed in 64 bits. Between groups all sums have 64 bits.
#pragma once
#include "arithmetic.hpp"
#include "dot.hpp"
#include "quantize.hpp"
#include "rows.hpp"
#include "types.hpp"

namespace lightmamba {
namespace {

// Items of a projection: two tiles each.
INLINE int64_t pairs_of_tiles(const Linear& f) { return (f.rows + 2 * ROWS - 1) / (2 * ROWS); }

constexpr int FEW = 8, PAIR = 4;  // vectors that share the loads of a tile; and of two tiles

// Sums over groups `begin` to `end` of one tile for N vectors, first in 32 bits.
template <int BITS, bool NARROW, int N>
INLINE void tile_sums(
    const Linear& f, const Panel& panel, int64_t tile, int64_t v, int64_t begin, int64_t end,
    i64x8 acc[N][2]
) {
    constexpr int bytes = BITS == 4 ? STEP_BYTES4 : STEP_BYTES8;
    const int64_t channels = f.channels, steps = channels / STEP, groups = channels / f.group;
    const int64_t per_group = f.group / STEP;
    const uint8_t* w = f.weights + (tile * steps + begin * per_group) * bytes;
    const uint8_t* codes = f.codes + (tile * groups + begin) * ROWS;
    for (int64_t g = begin; g < end; ++g, codes += ROWS) {
        i32x16 sums[N];
        for (int t = 0; t < N; ++t) sums[t] = all(panel.correction[(v + t) * groups + g]);
        for (int64_t s = g * per_group; s < (g + 1) * per_group; ++s, w += bytes) {
            Words words[8];
            prefetch(w, bytes);
            if constexpr (BITS == 4) unpack4(w, words);
            else unpack8(w, words);
            for (int t = 0; t < N; ++t) {
                const i32x16 one = dot<BITS>(words, panel.a + (v + t) * channels + s * STEP);
                const i32x16 scale = all(panel.scale[(v + t) * steps + s]);
                sums[t] += NARROW ? shift_left(one, scale) : one * scale;
            }
        }
        const i32x16 factors = group_factors(codes);
        for (int t = 0; t < N; ++t) multiply_add(acc[t], sums[t], factors);
    }
}

// The same for one vector in 64 bits, however far apart its scales lie.
template <int BITS, bool NARROW>
APART void tile_sums_wide(
    const Linear& f, const Panel& panel, int64_t tile, int64_t v, int64_t begin, int64_t end,
    i64x8 acc[2]
) {
    constexpr int bytes = BITS == 4 ? STEP_BYTES4 : STEP_BYTES8;
    const int64_t channels = f.channels, steps = channels / STEP, groups = channels / f.group;
    const int64_t per_group = f.group / STEP;
    const i32x16 ones = all(1);
    for (int64_t g = begin; g < end; ++g) {
        const i32x16 factors = group_factors(f.codes + (tile * groups + g) * ROWS);
        i64x8 wide[2] = {};
        multiply_add(wide, factors, ones);
        for (int64_t s = g * per_group; s < (g + 1) * per_group; ++s) {
            Words words[8];
            const uint8_t* w = f.weights + (tile * steps + s) * bytes;
            if constexpr (BITS == 4) unpack4(w, words);
            else unpack8(w, words);
            const int8_t* a = panel.a + v * channels + s * STEP;
            int32_t sum = 0;
            for (int i = 0; i < STEP; ++i) sum += a[i];
            const i32x16 one = dot<BITS>(words, a) - sum * (BITS == 4 ? 8 : 128);
            const int64_t scale = panel.scale[v * steps + s];
            i64x8 part[2] = {};
            multiply_add(part, one, ones);
            for (int h = 0; h < 2; ++h) {
                acc[h] += (NARROW ? part[h] << scale : part[h] * scale) * wide[h];
            }
        }
    }
}

struct Rms {
    const int32_t *mantissa, *j;
    int64_t groups;
};

// What saturated, by vector: `apart` from each other, vector v counted for owner[v] if there are owners.
struct Losses {
    int64_t *first, apart;
    const int64_t* owner;

    void add(int64_t v, int64_t count) const { add_lost(first + (owner ? owner[v] : v) * apart, 0, count); }
};

// Finished rows of one tile for vectors v .. v + N - 1.
template <int BITS, bool NARROW, int N>
APART void few_vectors(
    const Linear& f, const Panel& panel, Rms rms, int64_t tile, int64_t v, Rows rows[FEW]
) {
    const int64_t groups = f.channels / f.group, per_part = groups / rms.groups;
    bool wide = false;
    for (int t = 0; t < N; ++t) wide |= panel.low[v + t] < 0;
    clear<N>(rows);
    for (int64_t part = 0; part < rms.groups; ++part) {
        i64x8 acc[N][2];
        #pragma GCC unroll 8
        for (int t = 0; t < N; ++t) acc[t][0] = acc[t][1] = all64(0);
        const int64_t begin = part * per_part, end = begin + per_part;
        if (!wide) tile_sums<BITS, NARROW, N>(f, panel, tile, v, begin, end, acc);
        for (int t = 0; wide && t < N; ++t) {
            tile_sums_wide<BITS, NARROW>(f, panel, tile, v + t, begin, end, acc[t]);
        }
        for (int t = 0; t < N; ++t) {
            const int64_t at = (v + t) * rms.groups + part;
            finish(f, acc[t], panel.low[v + t], tile, rms.mantissa[at], rms.j[at], rows[t]);
        }
    }
}

#if defined(__AVX512VNNI__)
// Four channels of two tiles against PAIR vectors.
INLINE void pair_multiply(
    __m512i first, __m512i second, const int8_t* a, int64_t channels, __m512i sums[2][PAIR]
) {
    #pragma GCC unroll 4
    for (int t = 0; t < PAIR; ++t) {
        const __m512i four = _mm512_set1_epi32(load<int32_t>(a + t * channels));
        sums[0][t] = _mm512_dpbusd_epi32(sums[0][t], first, four);
        sums[1][t] = _mm512_dpbusd_epi32(sums[1][t], second, four);
    }
}

// Finished rows of two tiles for PAIR vectors whose scales lie within the span: a load
// of inputs serves both tiles, a load of weights all vectors, and all sums of a group are registers.
template <int BITS, bool NARROW>
APART void pair_vectors(
    const Linear& f, const Panel& panel, Rms rms, int64_t tile, int64_t v, Rows rows[2][FEW]
) {
    constexpr int bytes = BITS == 4 ? STEP_BYTES4 : STEP_BYTES8;
    const int64_t channels = f.channels, steps = channels / STEP, groups = channels / f.group;
    const int64_t per_group = f.group / STEP, per_part = groups / rms.groups, apart = steps * bytes;
    const __m512i low = _mm512_set1_epi8(15);
    clear<PAIR>(rows[0]);
    clear<PAIR>(rows[1]);
    for (int64_t part = 0; part < rms.groups; ++part) {
        i64x8 acc[2][PAIR][2];
        #pragma GCC unroll 4
        for (int t = 0; t < PAIR; ++t) {
            acc[0][t][0] = acc[0][t][1] = all64(0);
            acc[1][t][0] = acc[1][t][1] = all64(0);
        }
        for (int64_t g = part * per_part; g < (part + 1) * per_part; ++g) {
            __m512i sums[2][PAIR];
            #pragma GCC unroll 4
            for (int t = 0; t < PAIR; ++t) {
                sums[0][t] = sums[1][t] = _mm512_set1_epi32(panel.correction[(v + t) * groups + g]);
            }
            const uint8_t* w = f.weights + tile * apart + g * per_group * bytes;
            const int8_t* a = panel.a + v * channels + g * f.group;
            for (int64_t s = g * per_group; s < (g + 1) * per_group; ++s) {
                __m512i one[2][PAIR];
                #pragma GCC unroll 4
                for (int t = 0; t < PAIR; ++t) one[0][t] = one[1][t] = _mm512_setzero_si512();
                #pragma GCC unroll 8
                for (int i = 0; i < bytes / 64; ++i, w += 64, a += BITS == 4 ? 8 : 4) {
                    const __m512i first = _mm512_loadu_si512(w);
                    const __m512i second = _mm512_loadu_si512(w + apart);
                    if constexpr (BITS == 4) {
                        pair_multiply(
                            _mm512_and_si512(first, low), _mm512_and_si512(second, low), a, channels, one
                        );
                        pair_multiply(
                            _mm512_and_si512(_mm512_srli_epi16(first, 4), low),
                            _mm512_and_si512(_mm512_srli_epi16(second, 4), low), a + 4, channels, one
                        );
                    } else {
                        pair_multiply(first, second, a, channels, one);
                    }
                }
                #pragma GCC unroll 4
                for (int t = 0; t < PAIR; ++t) {
                    const __m512i scale = _mm512_set1_epi32(panel.scale[(v + t) * steps + s]);
                    #pragma GCC unroll 2
                    for (int r = 0; r < 2; ++r) {
                        const __m512i scaled = NARROW ? _mm512_sllv_epi32(one[r][t], scale)
                                                      : _mm512_mullo_epi32(one[r][t], scale);
                        sums[r][t] = _mm512_add_epi32(sums[r][t], scaled);
                    }
                }
            }
            #pragma GCC unroll 2
            for (int r = 0; r < 2; ++r) {
                const i32x16 factors = group_factors(f.codes + ((tile + r) * groups + g) * ROWS);
                #pragma GCC unroll 4
                for (int t = 0; t < PAIR; ++t) multiply_add(acc[r][t], (i32x16)sums[r][t], factors);
            }
        }
        for (int r = 0; r < 2; ++r) {
            for (int t = 0; t < PAIR; ++t) {
                const int64_t at = (v + t) * rms.groups + part;
                finish(f, acc[r][t], panel.low[v + t], tile + r, rms.mantissa[at], rms.j[at], rows[r][t]);
            }
        }
    }
}
#endif

// All vectors that fit into `rows` from v on; *count is how many that are.
template <int BITS, bool NARROW>
INLINE void next_vectors(
    const Linear& f, const Panel& panel, Rms rms, int64_t tile, int64_t v, int64_t vectors,
    Rows rows[FEW], int64_t* count
) {
    *count = vectors - v >= FEW ? FEW : vectors - v >= 2 ? 2 : 1;
    if (*count == FEW) return few_vectors<BITS, NARROW, FEW>(f, panel, rms, tile, v, rows);
    if (*count == 2) return few_vectors<BITS, NARROW, 2>(f, panel, rms, tile, v, rows);
    return few_vectors<BITS, NARROW, 1>(f, panel, rms, tile, v, rows);
}

// Rows that lie as in the file, one by one: sizes that the panels do not take.
APART int64_t plain_tile(
    const Linear& f, const int8_t* q, const uint8_t* code, Rms rms, int64_t tile, int64_t v,
    int64_t out[ROWS]
) {
    constexpr int64_t WIDE = (int64_t(1) << 39) - 1;
    const int64_t groups = f.channels / f.group, per_part = f.channels / rms.groups;
    const int64_t blocks = f.channels / f.act.block, last = (tile + 1) * ROWS;
    int64_t lost = 0;
    q += v * f.channels;
    code += v * blocks;
    for (int64_t row = tile * ROWS; row < (last < f.rows ? last : f.rows); ++row, ++out) {
        const uint8_t* w = f.weights + row * (f.channels * f.bits / 8);
        *out = 0;
        for (int64_t part = 0; part < rms.groups; ++part) {
            int64_t acc = 0;
            for (int64_t b = part * per_part; b < (part + 1) * per_part; b += f.act.block) {
                int64_t sum = 0;
                for (int64_t i = b; i < b + f.act.block; ++i) {
                    const int8_t byte = f.bits == 8 ? w[i] : i % 2 ? w[i / 2] : w[i / 2] << 4;
                    sum += int64_t(q[i]) * (f.bits == 8 ? byte : byte >> 4);
                }
                const int scale = code[b / f.act.block], factor = f.codes[row * groups + b / f.group];
                sum *= int64_t(4 + (scale & 3)) << (scale >> 2);
                acc += sum * (int64_t(32 + (factor & 31)) << (factor >> 5));
            }
            if (f.raw) {
                *out += acc;
                continue;
            }
            const int64_t at = v * rms.groups + part;
            const int64_t rounded = round_shift(acc, f.acc_shift);
            const int64_t wide = saturate(rounded, -WIDE - 1, WIDE);
            const int64_t shift = saturate(f.row_shift[row] + rms.j[at], 0, 62);
            const int64_t scaled = round_shift(wide * rms.mantissa[at], shift);
            const int64_t value = saturate(scaled, f.low, f.high);
            lost += (wide != rounded) + (value != scaled);
            *out += value;
        }
    }
    return lost;
}

// Rows of one tile from v on, as many vectors as fit; *count is how many that are.
INLINE void tile_vectors(
    const Linear& f, const Panel& panel, Rms rms, int64_t tile, int64_t v, int64_t vectors,
    Rows rows[FEW], int64_t* count
) {
    if (f.bits == 4) {
        return f.act_bits == 4 ? next_vectors<4, true>(f, panel, rms, tile, v, vectors, rows, count)
                               : next_vectors<4, false>(f, panel, rms, tile, v, vectors, rows, count);
    }
    return f.act_bits == 4 ? next_vectors<8, true>(f, panel, rms, tile, v, vectors, rows, count)
                           : next_vectors<8, false>(f, panel, rms, tile, v, vectors, rows, count);
}

// Whether PAIR vectors from v on can go against two tiles at once, and their rows if so.
INLINE bool pair(
    const Linear& f, const Panel& panel, Rms rms, int64_t tile, int64_t v, int64_t vectors,
    Rows rows[2][FEW]
) {
#if defined(__AVX512VNNI__)
    if (v + PAIR > vectors || (tile + 1) * ROWS >= f.rows) return false;
    for (int t = 0; t < PAIR; ++t) {
        if (panel.low[v + t] < 0) return false;
    }
    if (f.bits == 4) {
        f.act_bits == 4 ? pair_vectors<4, true>(f, panel, rms, tile, v, rows)
                        : pair_vectors<4, false>(f, panel, rms, tile, v, rows);
    } else {
        f.act_bits == 4 ? pair_vectors<8, true>(f, panel, rms, tile, v, rows)
                        : pair_vectors<8, false>(f, panel, rms, tile, v, rows);
    }
    return true;
#else
    (void)f, (void)panel, (void)rms, (void)tile, (void)v, (void)vectors, (void)rows;
    return false;
#endif
}

// Panels from vector v on.
INLINE Panel panel_from(const Panel& panel, const Linear& f, int64_t v) {
    return {panel.a + v * f.channels, panel.scale + v * (f.channels / STEP),
            panel.correction + v * (f.channels / f.group), panel.low + v};
}

// Two tiles of rows, or the last one, for all vectors: put(tile, v, count, rows) of vectors v .. v + count - 1.
template <class Put>
INLINE void two_tiles(const Linear& f, const Panel& panel, Rms rms, int64_t first, int64_t vectors, const Put& put) {
    const int64_t tiles = (f.rows + ROWS - 1) / ROWS, last = first + 2 < tiles ? first + 2 : tiles;
    Rows rows[2][FEW];
    int64_t v = 0, count = 0;
    for (; pair(f, panel, rms, first, v, vectors, rows); v += PAIR) {
        put(first, v, PAIR, rows[0]);
        put(first + 1, v, PAIR, rows[1]);
    }
    for (int64_t tile = first; tile < last; ++tile) {
        for (int64_t at = v; at < vectors; at += count) {
            tile_vectors(f, panel, rms, tile, at, vectors, rows[0], &count);
            put(tile, at, count, rows[0]);
        }
    }
}

// Two tiles of rows for all vectors, into `out` (vectors, rows).
template <class Out>
void project_tiles(
    const Linear& f, const int8_t* q, const uint8_t* code, const Panel& panel, Rms rms, int64_t two,
    int64_t vectors, Out* out, Losses lost
) {
    const auto put_tile = [&](int64_t tile, int64_t from, int64_t count, const Rows* rows) {
        const int64_t width = f.rows - tile * ROWS;
        i64x8 any = {};
        for (int64_t t = 0; t < count; ++t) {
            put(out + (from + t) * f.rows + tile * ROWS, rows[t], width < ROWS ? width : ROWS);
            any |= rows[t].lost;
        }
        for (int64_t t = 0; sum(any) != 0 && t < count; ++t) lost.add(from + t, sum(rows[t].lost));
    };
    if (f.panels) return two_tiles(f, panel, rms, two * 2, vectors, put_tile);
    for (int64_t begin = two * 2 * ROWS; begin < (two + 1) * 2 * ROWS && begin < f.rows; begin += ROWS) {
        const int64_t end = begin + ROWS < f.rows ? begin + ROWS : f.rows;
        for (int64_t at = 0; at < vectors; ++at) {
            int64_t plain[ROWS];
            lost.add(at, plain_tile(f, q, code, rms, begin / ROWS, at, plain));
            for (int64_t row = begin; row < end; ++row) out[at * f.rows + row] = plain[row - begin];
        }
    }
}

}  // namespace
}  // namespace lightmamba
