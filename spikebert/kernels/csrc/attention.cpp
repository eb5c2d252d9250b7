// Attention without a softmax, Y = (Q K^T) V, of binary spikes in bfloat16, forward and backward.
//
// Q, K, V and Y lie token by token, [M, N, H, d]: nothing is copied to split heads. For one of the M
// samples and steps and one head,
//     S  = Q K^T         counts of neurons that fire in both: bits, and a population count
//     Y  = S V,          dV = S^T dY
//     dA = dY V^T,       dQ = dA K,          dK = dA^T Q
// S is not kept: it is cheaper to count again. Sums are float, what leaves them is rounded to
// bfloat16, as in the plain twin, `product` of attention.py; counts are exact up to d = 256.
//
// All products but S are of one form, C = A B with rows of A and *pairs* of B: two neighbouring
// rows of B side by side, B'[p][2 c, 2 c + 1] = B[2 p, 2 p + 1][c], as the instruction wants them.

#include <cstdint>

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VPOPCNTDQ__)
#define COUNTS 1
#include "registers.h"

namespace {

int64_t padded(int64_t n) { return (n + WHOLE - 1) / WHOLE * WHOLE; }

void ahead(const uint16_t *p) { _mm_prefetch((const char *)p, _MM_HINT_T0); }  // what the next head reads

__m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

// Rows x [n, d], `far` apart, to pairs [padded(n) / 2, d]; what is beyond n is zero.
void pair(const uint16_t *x, int64_t n, int64_t d, int64_t far, uint32_t *to) {
    for (int64_t i = 0; i < n; i += 2, to += d)
        for (int64_t c = 0; c < d; c += WHOLE) {
            ahead(x + i * far + c + d), ahead(x + (i + 1) * far + c + d);
            const Pair both = side_by_side(_mm512_loadu_si512(x + i * far + c),
                                           i + 1 < n ? _mm512_loadu_si512(x + (i + 1) * far + c) : __m512i{});
            _mm512_store_si512(to + c, both.first);
            _mm512_store_si512(to + c + HALF, both.last);
        }
}

// Rows x [n, d], `far` apart, to the pairs of their transpose, [d / 2, padded(n)].
void pair_across(const uint16_t *x, int64_t n, int64_t d, int64_t far, uint32_t *to) {
    const int64_t wide = padded(n);
    for (int64_t i = 0; i < wide; i += HALF)
        for (int64_t c = 0; c < d; c += WHOLE) {
            __m512i r[16];
            for (int64_t j = 0; j < HALF; j++)
                ahead(x + (i + j) * far + c + d), r[j] = i + j < n ? _mm512_loadu_si512(x + (i + j) * far + c) : __m512i{};
            transpose(r);
            for (int64_t j = 0; j < HALF; j++) _mm512_store_si512(to + (c / 2 + j) * wide + i, r[j]);
        }
}

struct Rounded {  // to bfloat16, rows `far` apart, those of the next head `next` on
    uint16_t *to;
    int64_t far, next;
    void put(int64_t i, int64_t c, __m512 x) const {
        uint16_t *here = to + i * far + c;
        __builtin_prefetch(here + next, 1);
        _mm256_storeu_si256((__m256i *)here, narrow(x));
    }
};
struct Kept {  // in float
    float *to;
    int64_t far;
    void put(int64_t i, int64_t c, __m512 x) const { _mm512_store_ps(to + i * far + c, x); }
};

// ROWS rows and 16 COLUMNS columns of C.
template <int ROWS, int COLUMNS, class Out>
void panel(const uint16_t *a, int64_t far, const uint32_t *b, int64_t wide, int64_t pairs, int64_t i, int64_t c, Out out) {
    __m512 sum[ROWS][COLUMNS];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int j = 0; j < COLUMNS; j++) sum[r][j] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh right[COLUMNS];
#pragma GCC unroll 8
        for (int j = 0; j < COLUMNS; j++) right[j] = (__m512bh)_mm512_load_si512(b + p * wide + c + j * HALF);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            int32_t both;
            std::memcpy(&both, a + (i + r) * far + 2 * p, sizeof both);
            const __m512bh left = (__m512bh)_mm512_set1_epi32(both);
#pragma GCC unroll 8
            for (int j = 0; j < COLUMNS; j++) sum[r][j] = _mm512_dpbf16_ps(sum[r][j], left, right[j]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
        for (int j = 0; j < COLUMNS; j++) out.put(i + r, c + j * HALF, sum[r][j]);
}

template <int COLUMNS, class Out>
void panels(const uint16_t *a, int64_t far, int64_t rows, const uint32_t *b, int64_t wide, int64_t pairs, int64_t c, Out out) {
    int64_t i = 0;
    for (; i + 6 <= rows; i += 6) panel<6, COLUMNS>(a, far, b, wide, pairs, i, c, out);
    for (; i + 2 <= rows; i += 2) panel<2, COLUMNS>(a, far, b, wide, pairs, i, c, out);
    for (; i < rows; i++) panel<1, COLUMNS>(a, far, b, wide, pairs, i, c, out);
}

// C [rows, columns] = A B, of rows of A that are `far` apart and pairs of B [pairs, columns].
template <class Out>
void multiply(const uint16_t *a, int64_t far, int64_t rows, const uint32_t *b, int64_t columns, int64_t pairs, Out out) {
    int64_t c = 0;
    for (; c + 2 * WHOLE <= columns; c += 2 * WHOLE) panels<4>(a, far, rows, b, columns, pairs, c, out);
    for (; c < columns; c += WHOLE) panels<2>(a, far, rows, b, columns, pairs, c, out);
}

struct Sizes {
    int64_t samples, tokens, heads, width, threads;  // M, N, H, d
    int64_t row() const { return heads * width; }
    int64_t at(int64_t m, int64_t h) const { return m * tokens * row() + h * width; }
};

// Room of one thread for one head.
struct Room {
    const int64_t n, d, far, wide, words;
    Buffer<uint64_t> bits_q, bits_k;
    Buffer<uint16_t> one, other;  // [N, padded(N)]: S or dA, and its transpose
    Buffer<float> sums;           // dA before it is rounded
    Buffer<uint32_t> rows, across;
    explicit Room(const Sizes &s)
        : n(s.tokens), d(s.width), far(s.row()), wide(padded(s.tokens)), words((s.width + 63) / 64),
          bits_q(aligned<uint64_t>(words * wide)), bits_k(aligned<uint64_t>(words * wide)),
          one(aligned<uint16_t>(wide * wide)), other(aligned<uint16_t>(wide * wide)),
          sums(aligned<float>(wide * wide)), rows(aligned<uint32_t>(wide / 2 * d)), across(aligned<uint32_t>(d / 2 * wide)) {}

    int64_t pairs() const { return (n + 1) / 2; }

    // Which neurons fire, [words, padded(N)].
    void bits(const uint16_t *x, uint64_t *to) const {
        for (int64_t i = 0; i < n; i++)
            for (int64_t w = 0; w < words; w++) {
                const uint16_t *from = x + i * far + 64 * w;
                ahead(from + d);
                uint64_t fired = _mm512_test_epi16_mask(_mm512_loadu_si512(from), _mm512_loadu_si512(from));
                if (64 * w + WHOLE < d) {
                    const __m512i more = _mm512_loadu_si512(from + WHOLE);
                    fired |= (uint64_t)_mm512_test_epi16_mask(more, more) << 32;
                }
                to[w * wide + i] = fired;
            }
    }
    // S [N, padded(N)] of the bits of Q and K, or its transpose of those of K and Q.
    void count(const uint64_t *left, const uint64_t *right, uint16_t *to) const {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < wide; j += 8) {
                __m512i both = _mm512_setzero_si512();
                for (int64_t w = 0; w < words; w++)
                    both = _mm512_add_epi64(both, _mm512_popcnt_epi64(_mm512_and_si512(
                        _mm512_set1_epi64(left[w * wide + i]), _mm512_load_si512(right + w * wide + j))));
                const __m256i bits = _mm256_srli_epi32((__m256i)_mm512_cvtepi64_ps(both), 16);
                _mm_store_si128((__m128i *)(to + i * wide + j), _mm256_cvtepi32_epi16(bits));
            }
    }
    // `sums` rounded to `one`, its transpose to `other`.
    void round_both() const {
        for (int64_t i = 0; i < wide; i += HALF)
            for (int64_t j = 0; j < wide; j += HALF) {
                __m512i r[16];
                for (int64_t k = 0; k < HALF; k++) {
                    r[k] = _mm512_load_si512(sums.get() + (i + k) * wide + j);
                    _mm256_store_si256((__m256i *)(one.get() + (i + k) * wide + j), narrow((__m512)r[k]));
                }
                transpose(r);
                for (int64_t k = 0; k < HALF; k++)
                    _mm256_store_si256((__m256i *)(other.get() + (j + k) * wide + i), narrow((__m512)r[k]));
            }
    }
};

// Calls body(room, offset) for every head of every sample.
template <class Body> void each(const Sizes &s, Body body) {
#pragma omp parallel num_threads(int(s.threads)) if (s.threads > 1)
    {
        Room room(s);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < s.samples; m++)
            for (int64_t h = 0; h < s.heads; h++) body(room, s.at(m, h));
    }
}

}  // namespace
#endif

extern "C" {

// Whether the two functions below can run here.
int has_counts() {
#ifdef COUNTS
    return 1;
#else
    return 0;
#endif
}

// Y of Q, K and V, all [M, N, H, d]; d is a multiple of 32.
void attention_forward(const uint16_t *q, const uint16_t *k, const uint16_t *v, uint16_t *y, int64_t samples,
                       int64_t tokens, int64_t heads, int64_t width, int64_t threads) {
#ifdef COUNTS
    each(Sizes{samples, tokens, heads, width, threads}, [=](Room &room, int64_t at) {
        room.bits(q + at, room.bits_q.get());
        room.bits(k + at, room.bits_k.get());
        room.count(room.bits_q.get(), room.bits_k.get(), room.one.get());
        pair(v + at, room.n, room.d, room.far, room.rows.get());
        multiply(room.one.get(), room.wide, room.n, room.rows.get(), room.d, room.pairs(), Rounded{y + at, room.far, room.d});
    });
#endif
}

// dQ, dK and dV of dY.
void attention_backward(const uint16_t *q, const uint16_t *k, const uint16_t *v, const uint16_t *dy, uint16_t *dq,
                        uint16_t *dk, uint16_t *dv, int64_t samples, int64_t tokens, int64_t heads, int64_t width,
                        int64_t threads) {
#ifdef COUNTS
    each(Sizes{samples, tokens, heads, width, threads}, [=](Room &room, int64_t at) {
        const int64_t n = room.n, d = room.d, far = room.far, wide = room.wide;
        uint32_t *rows = room.rows.get();
        room.bits(q + at, room.bits_q.get());
        room.bits(k + at, room.bits_k.get());
        room.count(room.bits_k.get(), room.bits_q.get(), room.one.get());
        pair(dy + at, n, d, far, rows);
        multiply(room.one.get(), wide, n, rows, d, room.pairs(), Rounded{dv + at, far, d});
        pair_across(v + at, n, d, far, room.across.get());
        multiply(dy + at, far, n, room.across.get(), wide, d / 2, Kept{room.sums.get(), wide});
        room.round_both();
        pair(k + at, n, d, far, rows);
        multiply(room.one.get(), wide, n, rows, d, room.pairs(), Rounded{dq + at, far, d});
        pair(q + at, n, d, far, rows);
        multiply(room.other.get(), wide, n, rows, d, room.pairs(), Rounded{dk + at, far, d});
    });
#endif
}
}
