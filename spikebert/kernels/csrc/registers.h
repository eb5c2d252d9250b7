// What products.cpp and attention.cpp do with the registers of AVX-512.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <immintrin.h>
#include <memory>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

constexpr int64_t HALF = 16, WHOLE = 32;  // numbers in a register, in float and in bfloat16

struct Free {
    void operator()(void *p) const { std::free(p); }
};
template <class S> using Buffer = std::unique_ptr<S[], Free>;
template <class S> Buffer<S> aligned(int64_t values) {  // zeros
    const size_t bytes = (sizeof(S) * values + 63) / 64 * 64;
    void *p = std::aligned_alloc(64, bytes);
    std::memset(p, 0, bytes);
    return Buffer<S>((S *)p);
}

// The longer side of a matrix [N, K] shared out to threads, in multiples of 32: body(n, n_end, k, k_end)
// of each share.
template <class Body> void share(int64_t N, int64_t K, int64_t threads, Body body) {
    const int64_t pieces = std::max(N, K) / WHOLE, parts = std::min(threads, pieces);
#pragma omp parallel for num_threads(int(parts)) if (parts > 1)
    for (int64_t i = 0; i < parts; i++) {
        const int64_t from = pieces * i / parts * WHOLE, to = pieces * (i + 1) / parts * WHOLE;
        N >= K ? body(from, to, 0, K) : body(0, N, from, to);
    }
}

// 32 columns of two rows side by side, a column's two numbers in one lane of 32 bits: the first 16
// columns, and the last.
struct Pair {
    __m512i first, last;
};
struct Orders {
    alignas(64) uint16_t first[WHOLE], last[WHOLE];
    constexpr Orders() : first(), last() {
        for (int i = 0; i < WHOLE; i++) first[i] = uint16_t(i / 2 + WHOLE * (i % 2)), last[i] = uint16_t(first[i] + HALF);
    }
};
constexpr Orders ORDERS;
Pair side_by_side(__m512i a, __m512i b) {
    return {_mm512_permutex2var_epi16(a, _mm512_load_si512(ORDERS.first), b),
            _mm512_permutex2var_epi16(a, _mm512_load_si512(ORDERS.last), b)};
}

// 16 x 16 numbers of 32 bits.
void transpose(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    // r[4 g + c]: column 4 l + c of rows 4 g .. 4 g + 3 in lane l
    for (int c = 0; c < 4; c++) {
        const __m512i a = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), b = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd),
                      e = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88),
                      f = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
        t[c] = _mm512_shuffle_i32x4(a, e, 0x88);
        t[8 + c] = _mm512_shuffle_i32x4(a, e, 0xdd);
        t[4 + c] = _mm512_shuffle_i32x4(b, f, 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(b, f, 0xdd);
    }
    std::copy(t, t + 16, r);
}

}  // namespace
