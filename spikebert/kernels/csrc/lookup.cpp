// Products of spikes with weights by table, for processors that permute registers fast (AMD since Zen 4).
//
// Spikes need no multiplication. Five inputs that are 0 or 1 have 32 combinations, and a register holds
// 32 numbers of 16 bits: the sums of the five weights under each of them. One instruction then looks up
// 32 sums, that is 160 products, and another adds them; the instruction for bfloat16 makes 32 products
// in the same time.
//     Y[m][n]  = sum over groups g of 5 inputs k:  table(W[n][5g .. 5g + 4])[X[m][5g .. 5g + 4] as bits]
//     dW[n][k] = sum over groups g of 5 rows m:    table(dY[5g .. 5g + 4][n])[X[5g .. 5g + 4][k] as bits]
// Lanes are 32 rows m of the first and 32 inputs k of the second, where 15 bits lie in a word of 16.
// Counts up to 3 are two planes of bits, of which the second counts twice.
//
// Numbers are fixed point of 16 bits. Their unit is chosen for each output in each block of BLOCK summed
// products, as small as no sum of the block can overflow; blocks are summed up in float.

#include <cstdint>

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define LOOKUPS 1
#include "registers.h"
#include <vector>

namespace {

constexpr int64_t GROUP = 5, GROUPS = 3, WORD = GROUP * GROUPS;  // bits in an index; of a word
constexpr int64_t WORDS = 12, BLOCK = WORDS * WORD;              // of products summed in 16 bits
constexpr int64_t OUTPUTS = 8;                                   // side by side
constexpr int64_t TABLES = WORDS * GROUPS * OUTPUTS * WHOLE;     // numbers in the tables of a block
constexpr int64_t CHUNK = 2048;                                  // rows m packed at a time
constexpr float LARGEST = 32670;  // and half a unit more for each of BLOCK numbers: what rounding can add
constexpr int16_t PLANES[] = {0x00c0, 0x4000};                   // bits of bfloat16 that tell 1 and 3, 2 and 3
constexpr int16_t COUNTS[] = {0, 0x3f80, 0x4000, 0x4040};        // 0 to 3

int64_t pieces(int64_t all, int64_t size) { return (all + size - 1) / size; }

// The planes of bits that hold 32 numbers: 1 for zeros and ones, 2 for counts up to 3, 3 for others.
int planes_of(const uint16_t *x) {
    const __m512i v = _mm512_loadu_si512(x);
    __mmask32 of[4];
    for (int i = 0; i < 4; i++) of[i] = _mm512_cmpeq_epi16_mask(v, _mm512_set1_epi16(COUNTS[i]));
    const __mmask32 one = of[0] | of[1], all = ~__mmask32(0);
    return one == all ? 1 : (one | of[2] | of[3]) == all ? 2 : 3;
}

// The tables of at most BLOCK inputs. The number of input i and output o is at q[i down + o across].
void build(const int16_t *q, int64_t inputs, int64_t down, int64_t across, int16_t *tables) {
    constexpr __mmask32 with[GROUP] = {0xaaaaaaaa, 0xcccccccc, 0xf0f0f0f0, 0xff00ff00, 0xffff0000};
    for (int64_t g = 0; g < inputs; g += GROUP)
        for (int64_t o = 0; o < OUTPUTS; o++, tables += WHOLE) {
            __m512i table = _mm512_setzero_si512();
#pragma GCC unroll 5
            for (int64_t j = 0; j < GROUP; j++) {
                const int16_t number = g + j < inputs ? q[(g + j) * down + o * across] : 0;
                table = _mm512_mask_add_epi16(table, with[j], table, _mm512_set1_epi16(number));
            }
            _mm512_store_si512(tables, table);
        }
}

// OUTPUTS rows of 32 R lanes: sums (+)= unit * what is found for `n` words, which lie `far` apart.
template <int R>
void look(const uint16_t *words, int64_t far, int64_t n, const int16_t *tables, const float *units, float weight,
          float *sums, int64_t width, bool add) {
    __m512i sum[OUTPUTS][R], index[R];
#pragma GCC unroll 8
    for (int o = 0; o < OUTPUTS; o++)
#pragma GCC unroll 2
        for (int r = 0; r < R; r++) sum[o][r] = _mm512_setzero_si512();
    for (int64_t w = 0; w < n; w++, words += far) {
#pragma GCC unroll 2
        for (int r = 0; r < R; r++) index[r] = _mm512_loadu_si512(words + r * WHOLE);
#pragma GCC unroll 3
        for (int g = 0; g < GROUPS; g++, tables += OUTPUTS * WHOLE) {
#pragma GCC unroll 8
            for (int o = 0; o < OUTPUTS; o++) {
                __m512i table = _mm512_load_si512(tables + o * WHOLE);
                asm("" : "+v"(table));  // loaded once; and sums stay in the order that needs few registers
#pragma GCC unroll 2
                for (int r = 0; r < R; r++) {
                    sum[o][r] = _mm512_add_epi16(sum[o][r], _mm512_permutexvar_epi16(index[r], table));
                    asm("" : "+v"(sum[o][r]));
                }
            }
#pragma GCC unroll 2
            for (int r = 0; r < R; r++) index[r] = _mm512_srli_epi16(index[r], GROUP);
        }
    }
#pragma GCC unroll 8
    for (int o = 0; o < OUTPUTS; o++) {
        const __m512 unit = _mm512_set1_ps(weight * units[o]);
#pragma GCC unroll 2
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const __m256i half = h ? _mm512_extracti64x4_epi64(sum[o][r], 1) : _mm512_castsi512_si256(sum[o][r]);
                const __m512 found = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(half));
                float *to = sums + o * width + r * WHOLE + h * HALF;
                _mm512_storeu_ps(to, add ? _mm512_fmadd_ps(found, unit, _mm512_loadu_ps(to)) : _mm512_mul_ps(found, unit));
            }
    }
}

// The same for `lanes` lanes, a multiple of 32, and each plane of words, `plane` apart.
void look_at(const uint16_t *words, int64_t planes, int64_t plane, int64_t lanes, int64_t far, int64_t n,
             const int16_t *tables, const float *units, float *sums, int64_t width, bool add) {
    for (int64_t p = 0; p < planes; p++, words += plane, add = true) {
        const float weight = float(1 << p);
        int64_t l = 0;
        for (; l + 2 * WHOLE <= lanes; l += 2 * WHOLE)
            look<2>(words + l, far, n, tables, units, weight, sums + l, width, add);
        if (l < lanes) look<1>(words + l, far, n, tables, units, weight, sums + l, width, add);
    }
}

// One plane of at most 32 rows of X [.., K]: 15 neighbouring inputs k in a word, words[k / 15][m].
void pack_inputs(const uint16_t *x, int64_t rows, int64_t K, int64_t p, uint16_t *words, int64_t far) {
    std::vector<uint32_t> bits(K / WHOLE + 1);
    const __m512i mask = _mm512_set1_epi16(PLANES[p]);
    for (int64_t m = 0; m < rows; m++) {
        for (int64_t k = 0; k < K; k += WHOLE)
            bits[k / WHOLE] = _mm512_test_epi16_mask(_mm512_loadu_si512(x + m * K + k), mask);
        for (int64_t k = 0; k < K; k += WORD) {
            uint32_t word;
            std::memcpy(&word, (const char *)bits.data() + k / 8, sizeof word);
            words[k / WORD * far + m] = uint16_t(word >> k % 8 & ((1 << WORD) - 1));
        }
    }
}

// One plane of at most 15 rows m of X [.., K] in a word each: words[k].
void pack_rows(const uint16_t *x, int64_t rows, int64_t K, int64_t p, uint16_t *words) {
    const __m512i mask = _mm512_set1_epi16(PLANES[p]);
    for (int64_t k = 0; k < K; k += WHOLE) {
        __m512i word = _mm512_setzero_si512();
        for (int64_t m = 0; m < rows; m++) {
            const __mmask32 bit = _mm512_test_epi16_mask(_mm512_loadu_si512(x + m * K + k), mask);
            word = _mm512_mask_add_epi16(word, bit, word, _mm512_set1_epi16(int16_t(1 << m)));
        }
        _mm512_storeu_si512(words + k, word);
    }
}

// 16 floats of memory, those from `count` on zero.
__m512 part(const float *from, int64_t count) {
    return _mm512_maskz_loadu_ps(count >= HALF ? 0xffff : __mmask16((1 << count) - 1), from);
}

// A row of K weights in fixed point, and the unit of each block; those lie `far` apart. Of two numbers,
// max and min take the second if one is not a number, so that it shows in the unit.
void fix_row(const float *row, int64_t K, int16_t *q, float *units, int64_t far) {
    const __m512 zero = _mm512_setzero_ps();
    for (int64_t k = 0; k < K; k += BLOCK) {
        const int64_t end = std::min(K, k + BLOCK);
        __m512 above = zero, below = zero;
        for (int64_t i = k; i < end; i += HALF) {
            const __m512 w = part(row + i, end - i);
            above = _mm512_add_ps(above, _mm512_max_ps(zero, w));
            below = _mm512_sub_ps(below, _mm512_min_ps(zero, w));
        }
        const float most = std::max(_mm512_reduce_add_ps(above), _mm512_reduce_add_ps(below));
        units[k / BLOCK * far] = most / LARGEST;
        const __m512 scale = _mm512_set1_ps(most > 0 ? LARGEST / most : 0);
        for (int64_t i = k; i < end; i += HALF)
            _mm512_mask_cvtsepi32_storeu_epi16(q + i, end - i >= HALF ? 0xffff : __mmask16((1 << (end - i)) - 1),
                                               _mm512_cvtps_epi32(_mm512_mul_ps(part(row + i, end - i), scale)));
    }
}

__m512 widened(const uint16_t *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16));
}

// 32 columns of a block of rows of dY, which lie N apart, in fixed point, q[m][32], and their units.
void fix_columns(const uint16_t *dy, int64_t rows, int64_t N, int16_t *q, float *units) {
    const __m512 zero = _mm512_setzero_ps(), largest = _mm512_set1_ps(LARGEST);
    __m512 above[2] = {zero, zero}, below[2] = {zero, zero}, scale[2];
    for (int64_t m = 0; m < rows; m++) {
        _mm_prefetch((const char *)(dy + (m + 16) * N), _MM_HINT_T0);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const __m512 y = widened(dy + m * N + h * HALF);
            above[h] = _mm512_add_ps(above[h], _mm512_max_ps(zero, y));
            below[h] = _mm512_sub_ps(below[h], _mm512_min_ps(zero, y));
        }
    }
    for (int h = 0; h < 2; h++) {
        const __m512 most = _mm512_max_ps(above[h], below[h]);
        _mm512_storeu_ps(units + h * HALF, _mm512_div_ps(most, largest));
        scale[h] = _mm512_maskz_div_ps(_mm512_cmp_ps_mask(most, zero, _CMP_GT_OQ), largest, most);
    }
    for (int64_t m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++)
            _mm256_store_si256(
                (__m256i *)(q + m * WHOLE + h * HALF),
                _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(widened(dy + m * N + h * HALF), scale[h]))));
}

// 16 columns of Y [.., N] from their sums, [16][width]: transposed, in bfloat16.
void write(const float *sums, int64_t width, int64_t rows, uint16_t *y, int64_t N) {
    for (int64_t m = 0; m < rows; m += HALF) {
        __m512i r[HALF];
        for (int n = 0; n < HALF; n++) r[n] = _mm512_load_si512(sums + n * width + m);
        transpose(r);
        for (int64_t i = 0; i < std::min(HALF, rows - m); i++)
            _mm256_storeu_si256((__m256i *)(y + (m + i) * N), (__m256i)_mm512_cvtneps_pbh(_mm512_castsi512_ps(r[i])));
    }
}

}  // namespace
#endif

extern "C" {

// 1 where the products below can run, 2 where they are also faster than those of bfloat16's vectors.
int has_lookups() {
#ifdef LOOKUPS
    return __builtin_cpu_is("amd") ? 2 : 1;
#else
    return 0;
#endif
}

// The planes of bits that hold n numbers in bfloat16, a multiple of 32: 1, 2 or, where they are not
// counts up to 3, 0.
int planes(const uint16_t *x, int64_t n, int64_t threads) {
    int most = 1;
#ifdef LOOKUPS
    constexpr int64_t STEP = 4096;
#pragma omp parallel for num_threads(int(threads)) if (threads > 1) reduction(max : most)
    for (int64_t i = 0; i < n; i += STEP)
        for (int64_t j = i; most < 3 && j < std::min(n, i + STEP); j += WHOLE) most = std::max(most, planes_of(x + j));
#endif
    return most % 3;
}

// Y [M, N] in bfloat16 of X [M, K], 0 or 1 or, with two planes, up to 3, in bfloat16, and W [N, K] in
// float; N and K are multiples of 32.
void look_up(const uint16_t *x, const float *w, uint16_t *y, int64_t M, int64_t N, int64_t K, int64_t planes,
             int64_t threads) {
#ifdef LOOKUPS
    // Not a power of 2 apart, or all of a row's words would fall on the same places of the cache.
    const int64_t far = (pieces(std::min(M, CHUNK), WHOLE) + 1) * WHOLE;
    const int64_t blocks = pieces(K, BLOCK), plane = pieces(K, WORD) * far;
    const auto words = aligned<uint16_t>(planes * plane);
    const auto q = aligned<int16_t>(N * K);
    const auto units = aligned<float>(blocks * N);
#pragma omp parallel for num_threads(int(threads)) if (threads > 1)
    for (int64_t n = 0; n < N; n++) fix_row(w + n * K, K, q.get() + n * K, units.get() + n, N);
    for (int64_t m = 0; m < M; m += CHUNK) {
        const int64_t rows = std::min(CHUNK, M - m), lanes = pieces(rows, WHOLE) * WHOLE;
#pragma omp parallel for num_threads(int(threads)) if (threads > 1)
        for (int64_t r = 0; r < rows; r += WHOLE)
            for (int64_t p = 0; p < planes; p++)
                pack_inputs(x + (m + r) * K, std::min(WHOLE, rows - r), K, p, words.get() + p * plane + r, far);
        share(N, 0, threads, [&](int64_t from, int64_t to, int64_t, int64_t) {
            const auto tables = aligned<int16_t>(TABLES);
            const auto sums = aligned<float>(HALF * far);
            for (int64_t n = from; n < to; n += HALF) {
                for (int64_t o = 0; o < HALF; o += OUTPUTS)
                    for (int64_t b = 0; b < blocks; b++) {
                        const int64_t inputs = std::min(BLOCK, K - b * BLOCK);
                        build(q.get() + (n + o) * K + b * BLOCK, inputs, 1, K, tables.get());
                        look_at(words.get() + b * WORDS * far, planes, plane, lanes, far, pieces(inputs, WORD),
                                tables.get(), units.get() + b * N + n + o, sums.get() + o * far, far, b > 0);
                    }
                write(sums.get(), far, rows, y + m * N + n, N);
            }
        });
    }
#endif
}

// The words that look_up_gradient wants of X [M, K], as above: [planes, M / 15 rounded up, K].
void pack_spikes(const uint16_t *x, uint16_t *words, int64_t M, int64_t K, int64_t planes, int64_t threads) {
#ifdef LOOKUPS
    const int64_t n = pieces(M, WORD);
#pragma omp parallel for num_threads(int(threads)) if (threads > 1)
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < planes; p++)
            pack_rows(x + i * WORD * K, std::min(WORD, M - i * WORD), K, p, words + (p * n + i) * K);
#endif
}

// dW [N, K] in float of dY [M, N] in bfloat16 and the words of X [M, K]; N and K are multiples of 32.
void look_up_gradient(const uint16_t *dy, const uint16_t *words, float *dw, int64_t M, int64_t N, int64_t K,
                      int64_t planes, int64_t threads) {
#ifdef LOOKUPS
    const int64_t blocks = pieces(M, BLOCK), plane = pieces(M, WORD) * K;
    share(N, 0, threads, [=](int64_t from, int64_t to, int64_t, int64_t) {
        const auto tables = aligned<int16_t>(TABLES);
        const auto q = aligned<int16_t>(M * WHOLE);
        const auto units = aligned<float>(blocks * WHOLE);
        for (int64_t n = from; n < to; n += WHOLE) {
            for (int64_t b = 0; b < blocks; b++)
                fix_columns(dy + b * BLOCK * N + n, std::min(BLOCK, M - b * BLOCK), N, q.get() + b * BLOCK * WHOLE,
                            units.get() + b * WHOLE);
            for (int64_t o = 0; o < WHOLE; o += OUTPUTS)
                for (int64_t b = 0; b < blocks; b++) {
                    const int64_t inputs = std::min(BLOCK, M - b * BLOCK);
                    build(q.get() + b * BLOCK * WHOLE + o, inputs, WHOLE, 1, tables.get());
                    look_at(words + b * WORDS * K, planes, plane, K, K, pieces(inputs, WORD), tables.get(),
                            units.get() + b * WHOLE + o, dw + (n + o) * K, K, b > 0);
                }
        }
    });
#endif
}
}
