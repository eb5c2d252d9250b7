// What products.cpp and attention.cpp do with the registers of AVX-512.
#pragma once
#include <algorithm>
#include <cstdint>
#include <immintrin.h>

namespace {

// The order of 16 columns of two rows, side by side: those of the first half, or of the second.
__m512i interleaved(int64_t half) {
    alignas(64) uint16_t order[32];
    for (int i = 0; i < 32; i++) order[i] = uint16_t(16 * half + i / 2 + 32 * (i % 2));
    return _mm512_load_si512(order);
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
