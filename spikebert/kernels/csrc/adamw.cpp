// AdamW (Loshchilov & Hutter, 2019) for the rows of a table of which few have a gradient at a time.
//
// Without a gradient a step is
//     p -= lr wd p,  m = beta1 m,  v = beta2 v,  p -= lr / (1 - beta1^k) m / (sqrt(v / (1 - beta2^k)) + eps)
// and needs nothing but its number k. So a row waits until it is read and then takes all the steps
// that it missed, one after the other, in registers: the same bits as if it had not waited.
//
// Numbers below 1e-38 count as zero; a row's m would otherwise stay there, at a hundred times the cost.

#include <algorithm>
#include <cmath>
#include <cstdint>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __SSE__
#include <immintrin.h>
#endif

namespace {

constexpr int64_t BLOCK = 64;  // neighbouring values that take their steps together

struct Step { float decay, rate, root; };  // 1 - lr wd, lr / (1 - beta1^k), 1 / sqrt(1 - beta2^k)

struct Constants {
    float beta1, beta2, rest1, rest2, eps;
    Constants(double beta1, double beta2, double eps)
        : beta1(beta1), beta2(beta2), rest1(1 - beta1), rest2(1 - beta2), eps(eps) {}
};

struct Small {  // no subnormal numbers while one of these lives
#ifdef __SSE__
    unsigned before = _mm_getcsr();
    Small() { _mm_setcsr(before | 0x8040); }
    ~Small() { _mm_setcsr(before); }
#endif
};

struct Block {
    float p[BLOCK], m[BLOCK], v[BLOCK];
    void decay(const Step &s) {
        for (int64_t i = 0; i < BLOCK; i++) p[i] *= s.decay;
    }
    void take(const Step &s, const float *g, const Constants &c) {
        decay(s);
        for (int64_t i = 0; i < BLOCK; i++) {
            m[i] = c.beta1 * m[i] + c.rest1 * g[i];
            v[i] = c.beta2 * v[i] + c.rest2 * g[i] * g[i];
            p[i] -= s.rate * m[i] / (std::sqrt(v[i]) * s.root + c.eps);
        }
    }
};

}  // namespace

extern "C" {

// Bring `count` rows of p, m and v [rows, width] to step `now`: those that `which` names, a row once
// or oftener, or the first `count` where it is null. `last` [rows] is the step that each is at;
// `steps` begins with number `first`. Step `now` has the gradient `grad` [count, width] if there is
// one, each row named once then. A row that never had a gradient has 0 in `seen` [rows].
void adamw_rows(float *p, float *m, float *v, int64_t *last, uint8_t *seen, const int64_t *which, int64_t count,
                int64_t width, const float *grad, const void *steps, int64_t first, int64_t now, double beta1,
                double beta2, double eps, int64_t threads) {
    const Step *step = (const Step *)steps - first;
    const Constants c(beta1, beta2, eps);
    static const float none[BLOCK] = {};
#pragma omp parallel num_threads(int(threads)) if (threads > 1)
    {
        const Small small;
        int64_t me = 0, all = 1;
#ifdef _OPENMP
        me = omp_get_thread_num(), all = omp_get_num_threads();
#endif
        for (int64_t i = 0; i < count; i++) {
            const int64_t row = which ? which[i] : i, from = last[row] + 1;
            if (row % all != me || from > now) continue;  // a row belongs to one thread
            const int64_t before = grad ? now - 1 : now;
            for (int64_t d = 0; d < width; d += BLOCK) {
                const int64_t at = row * width + d, n = std::min(BLOCK, width - d);
                Block b;
                float g[BLOCK];
                if (n < BLOCK) b = Block{};
                std::copy_n(p + at, n, b.p), std::copy_n(m + at, n, b.m), std::copy_n(v + at, n, b.v);
                for (int64_t k = from; k <= before; k++)
                    seen[row] ? b.take(step[k], none, c) : b.decay(step[k]);
                if (grad) {
                    std::fill_n(g, BLOCK, 0.0f);
                    std::copy_n(grad + i * width + d, n, g);
                    b.take(step[now], g, c);
                }
                std::copy_n(b.p, n, p + at);
                if (!grad && !seen[row]) continue;
                std::copy_n(b.m, n, m + at), std::copy_n(b.v, n, v + at);
            }
            last[row] = now;
            if (grad) seen[row] = 1;
        }
    }
}
}
