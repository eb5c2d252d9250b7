// The gradient of a linear layer's weight, dW = dY^T X, on a processor's bfloat16 tiles (AMX).
//
// Of an update at 6 blocks x 384 on 2 threads of a Xeon with AMX a tenth and more: the library's product for
// dW ran there at a third of the rate of the others. On Zen 4, by pairs of bfloat16, a product of our
// own brought 2 % and is not here.
//
// The library copies dY transposed before it multiplies, which takes longer than the product. Here a few
// columns of dY are transposed in registers while they are in the cache. Sums are float, as is dW.
//
// A tile of dY holds 16 columns n of 32 rows m, pairs of neighbouring rows side by side:
//     A[n][2p, 2p + 1] = dY[2p, 2p + 1][n],  B[p][2k, 2k + 1] = X[2p, 2p + 1][k],
//     C[n][k] += sum over p of A[n][2p] B[p][2k] + A[n][2p + 1] B[p][2k + 1]

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AMX_BF16__) && defined(__AVX512F__) && defined(__linux__)
#define TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

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

constexpr int64_t DEPTH = 32, SIDE = 16, TILE = DEPTH * SIDE;  // of a tile: rows m, columns, values
constexpr int64_t CHUNK = 256;                                 // rows m packed at a time
constexpr int64_t GROUP = 128;                                 // columns of dY packed at a time

struct alignas(64) Palette {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
    Palette() {
        for (int i = 0; i < 8; i++) bytes[i] = 64, rows[i] = 16;
    }
};

bool allowed() {  // the kernel lends the tiles' registers on request
    constexpr int request = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

// One row of tiles, of 32 rows m, of which `rows` are there and the others zero, and `columns`, a
// multiple of 32. Rows lie `width` apart, the tiles of neighbouring columns `far`.
template <bool ACROSS>
void pack(const uint16_t *from, int64_t rows, int64_t columns, int64_t width, uint16_t *to, int64_t far) {
    for (int64_t j = 0; j < columns; j += 2 * SIDE, to += 2 * far) {
        __m512i left[16], right[16];
        for (int p = 0; p < 16; p++) {
            const uint16_t *here = from + 2 * p * width + j;
            _mm_prefetch((const char *)(here + DEPTH * width), _MM_HINT_T0);
            _mm_prefetch((const char *)(here + (DEPTH + 1) * width), _MM_HINT_T0);
            const Pair both = side_by_side(2 * p < rows ? _mm512_loadu_si512(here) : __m512i{},
                                           2 * p + 1 < rows ? _mm512_loadu_si512(here + width) : __m512i{});
            left[p] = both.first, right[p] = both.last;
        }
        if (ACROSS) transpose(left), transpose(right);
        for (int p = 0; p < 16; p++) {
            _mm512_store_si512(to + 32 * p, left[p]);
            _mm512_store_si512(to + far + 32 * p, right[p]);
        }
    }
}

// 32 x 32 values of C, of `tiles` tiles of depth: two of A and two of B side by side, `far` apart.
void multiply(const uint16_t *a, const uint16_t *b, int64_t tiles, int64_t far, float *c, int64_t width, bool add) {
    if (add) {
        _tile_loadd(0, c, 4 * width);
        _tile_loadd(1, c + SIDE, 4 * width);
        _tile_loadd(2, c + SIDE * width, 4 * width);
        _tile_loadd(3, c + SIDE * width + SIDE, 4 * width);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t i = 0; i < tiles; i++, a += TILE, b += TILE) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 64);
        _tile_loadd(7, b + far, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + far, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, 4 * width);
    _tile_stored(1, c + SIDE, 4 * width);
    _tile_stored(2, c + SIDE * width, 4 * width);
    _tile_stored(3, c + SIDE * width + SIDE, 4 * width);
}

// The columns of dW [N, K] from k to k_end of its rows from n to n_end.
void part(const uint16_t *dy, const uint16_t *x, float *dw, int64_t M, int64_t N, int64_t K, int64_t n, int64_t n_end,
          int64_t k, int64_t k_end) {
    constexpr int64_t far = CHUNK / DEPTH * TILE;  // between the columns of a packed chunk
    const auto a = aligned<uint16_t>(GROUP / SIDE * far), b = aligned<uint16_t>((k_end - k) / SIDE * far);
    const Palette palette;
    _tile_loadconfig(&palette);
    for (int64_t m = 0; m < M; m += CHUNK) {
        const int64_t rows = std::min(CHUNK, M - m), tiles = (rows + DEPTH - 1) / DEPTH;
        for (int64_t i = 0; i < tiles; i++)
            pack<false>(x + (m + i * DEPTH) * K + k, rows - i * DEPTH, k_end - k, K, b.get() + i * TILE, far);
        for (int64_t g = n; g < n_end; g += GROUP) {
            const int64_t columns = std::min(GROUP, n_end - g);
            for (int64_t i = 0; i < tiles; i++)
                pack<true>(dy + (m + i * DEPTH) * N + g, rows - i * DEPTH, columns, N, a.get() + i * TILE, far);
            for (int64_t j = 0; j < columns; j += 2 * SIDE)
                for (int64_t l = k; l < k_end; l += 2 * SIDE)
                    multiply(a.get() + j / SIDE * far, b.get() + (l - k) / SIDE * far, tiles, far,
                             dw + (g + j) * K + l, K, m > 0);
        }
    }
    _tile_release();
}

}  // namespace
#endif

extern "C" {

// Whether weight_gradient_by_tiles can run here.
int has_tiles() {
#ifdef TILES
    static const bool found = allowed();
    return found;
#else
    return 0;
#endif
}

// dW [N, K] in float of dY [M, N] and X [M, K] in bfloat16; N and K are multiples of 32.
void weight_gradient_by_tiles(const uint16_t *dy, const uint16_t *x, float *dw, int64_t M, int64_t N, int64_t K,
                              int64_t threads) {
#ifdef TILES
    share(N, K, threads, [=](int64_t n, int64_t n_end, int64_t k, int64_t k_end) {
        part(dy, x, dw, M, N, K, n, n_end, k, k_end);
    });
#endif
}
}
