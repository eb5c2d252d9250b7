// The gradient of a linear layer's weight, dW = dY^T X, with a processor's bfloat16 vectors.
//
// As in products.cpp, for processors without tiles: rows m are taken two and two, side by side, which
// is what the instruction adds up, so nothing is transposed. Sums are float, as is dW.
//     dY'[p][2n, 2n + 1] = dY[2p, 2p + 1][n],  X'[p][2k, 2k + 1] = X[2p, 2p + 1][k],
//     dW[n][k] += sum over p of dY'[p][2n] X'[p][2k] + dY'[p][2n + 1] X'[p][2k + 1]

#include <cstdint>

#ifdef __AVX512BF16__
#define PAIRS 1
#include "registers.h"

namespace {

constexpr int64_t CHUNK = 512;             // rows m packed at a time
constexpr int64_t ROWS = 8, COLUMNS = 3;   // of dW in registers: n, and 16 k
constexpr int64_t LEFT = 2, GROUP = LEFT * HALF;  // columns of dY packed at a time

// Pairs of `rows` rows, of which the last may be missing, in panels [pairs, 16 WIDE] one after the
// other; rows lie `width` apart.
template <int64_t WIDE>
void pack(const uint16_t *from, int64_t rows, int64_t columns, int64_t width, uint32_t *to) {
    const int64_t pairs = (rows + 1) / 2;
    const auto at = [=](int64_t p, int64_t i) { return to + ((i / WIDE * pairs + p) * WIDE + i % WIDE) * HALF; };
    for (int64_t p = 0; p < pairs; p++)
        for (int64_t c = 0; c < columns; c += WHOLE) {
            const uint16_t *here = from + 2 * p * width + c;
            const Pair both = side_by_side(_mm512_loadu_si512(here),
                                           2 * p + 1 < rows ? _mm512_loadu_si512(here + width) : __m512i{});
            _mm512_store_si512(at(p, c / HALF), both.first);
            _mm512_store_si512(at(p, c / HALF + 1), both.last);
        }
}

// ROWS x 16 WIDE values of dW.
template <int WIDE>
void multiply(const uint32_t *dy, const uint32_t *x, int64_t pairs, float *dw, int64_t width, bool add) {
    __m512 sum[ROWS][WIDE];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int j = 0; j < WIDE; j++) sum[r][j] = add ? _mm512_loadu_ps(dw + r * width + HALF * j) : _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++, dy += GROUP, x += COLUMNS * HALF) {
        __m512bh right[WIDE];
#pragma GCC unroll 8
        for (int j = 0; j < WIDE; j++) right[j] = (__m512bh)_mm512_load_si512(x + HALF * j);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32(dy[r]);
#pragma GCC unroll 8
            for (int j = 0; j < WIDE; j++) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], left, right[j]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int j = 0; j < WIDE; j++) _mm512_storeu_ps(dw + r * width + HALF * j, sum[r][j]);
}

// The columns of dW [N, K] from k to k_end of its rows from n to n_end.
void part(const uint16_t *dy, const uint16_t *x, float *dw, int64_t M, int64_t N, int64_t K, int64_t n, int64_t n_end,
          int64_t k, int64_t k_end) {
    const int64_t panels = ((k_end - k) / HALF + COLUMNS - 1) / COLUMNS;
    const auto left = aligned<uint32_t>(CHUNK / 2 * GROUP), right = aligned<uint32_t>(CHUNK / 2 * panels * COLUMNS * HALF);
    for (int64_t m = 0; m < M; m += CHUNK) {
        const int64_t rows = std::min(CHUNK, M - m), pairs = (rows + 1) / 2;
        pack<COLUMNS>(x + m * K + k, rows, k_end - k, K, right.get());
        for (int64_t g = n; g < n_end; g += GROUP) {
            pack<LEFT>(dy + m * N + g, rows, GROUP, N, left.get());
            for (int64_t l = k; l < k_end; l += COLUMNS * HALF)
                for (int64_t r = 0; r < GROUP; r += ROWS) {
                    const uint32_t *panel = right.get() + (l - k) * pairs;
                    float *to = dw + (g + r) * K + l;
                    switch (std::min(COLUMNS, (k_end - l) / HALF)) {
                    case 1: multiply<1>(left.get() + r, panel, pairs, to, K, m > 0); break;
                    case 2: multiply<2>(left.get() + r, panel, pairs, to, K, m > 0); break;
                    default: multiply<3>(left.get() + r, panel, pairs, to, K, m > 0);
                    }
                }
        }
    }
}

}  // namespace
#endif

extern "C" {

// Whether weight_gradient_by_pairs can run here.
int has_pairs() {
#ifdef PAIRS
    return 1;
#else
    return 0;
#endif
}

// dW [N, K] in float of dY [M, N] and X [M, K] in bfloat16; N and K are multiples of 32.
void weight_gradient_by_pairs(const uint16_t *dy, const uint16_t *x, float *dw, int64_t M, int64_t N, int64_t K,
                              int64_t threads) {
#ifdef PAIRS
    share(N, K, threads, [=](int64_t n, int64_t n_end, int64_t k, int64_t k_end) {
        part(dy, x, dw, M, N, K, n, n_end, k, k_end);
    });
#endif
}
}
