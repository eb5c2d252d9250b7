// Layer normalisation and LIF neuron in one pass over memory, forward and backward.
//
// A row is one token: D currents at each of T steps. Forward, for d < D and t < T:
//     x[t] = (y[t] - mean) rstd w + b        or y[t] itself, without a norm
//     h = beta v + gain x[t];  u = h - U_thr;  s[t] = u >= 0;  v = s[t] ? (hard ? 0 : u) : h
// Nothing but y is kept: the backward pass computes u again, a row at a time in the cache.
//     dL/dh = g(u) dL/ds + dv/dh dL/dv, less the reset's own path where it is attached
// y may hold one step that stands for T equal ones (`given` = 1). Membranes are float whatever y is.
// The plain twin is `lif` in lif.py after torch's layer norm.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif

struct Call {
    int64_t steps, given, rows, width, bfloat16, surrogate, hard, attached, norm, threads;
    double beta, gain, threshold, alpha, eps;
};

namespace {

struct BFloat16 { uint16_t bits; };

inline float load(float x) { return x; }
inline float load(BFloat16 x) {
    uint32_t wide = uint32_t(x.bits) << 16;
    float out;
    std::memcpy(&out, &wide, 4);
    return out;
}
inline void store(float &to, float x) { to = x; }
inline void store(BFloat16 &to, float x) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t wide;
    std::memcpy(&wide, &x, 4);
    uint32_t rounded = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    to.bits = uint16_t(x != x ? 0x7fc0 : rounded);
}

struct Atan {
    static float slope(float u, float a) {
        float z = 1.57079632679489662f * a * u;
        return 0.5f * a / (1 + z * z);
    }
};
struct Sigmoid {
    static float slope(float u, float a) {
        float s = 1 / (1 + std::exp(-a * u));
        return a * s * (1 - s);
    }
};
struct Triangle {
    static float slope(float u, float a) {
        float z = 1 - a * std::fabs(u);
        return z > 0 ? a * z : 0;
    }
};
struct Rectangle {
    static float slope(float u, float a) { return std::fabs(u) < 0.5f / a ? a : 0; }
};

// x[D] of one row and step, and its 1 / deviation; `centred` gets (y - mean) rstd.
template <class S>
float currents(const Call &c, const S *y, const float *w, const float *b, float *centred, float *x) {
    const int64_t D = c.width;
    if (!c.norm) {
#pragma omp simd
        for (int64_t d = 0; d < D; d++) x[d] = load(y[d]);
        return 1;
    }
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < D; d++) {
        x[d] = load(y[d]);
        sum += x[d];
    }
    const float mean = sum / D;
#pragma omp simd reduction(+ : squares)
    for (int64_t d = 0; d < D; d++) {
        centred[d] = x[d] - mean;
        squares += centred[d] * centred[d];
    }
    const float rstd = 1 / std::sqrt(squares / D + float(c.eps));
#pragma omp simd
    for (int64_t d = 0; d < D; d++) {
        centred[d] *= rstd;
        x[d] = centred[d] * w[d] + b[d];
    }
    return rstd;
}

// One step of the neuron: membrane v[D] and currents x[D] -> u[D] and the membrane after reset.
inline void step(const Call &c, const float *x, float *v, float *u) {
    const float beta = c.beta, gain = c.gain, threshold = c.threshold;
    const bool hard = c.hard;
#pragma omp simd
    for (int64_t d = 0; d < c.width; d++) {
        const float h = beta * v[d] + gain * x[d];
        u[d] = h - threshold;
        v[d] = u[d] >= 0 ? (hard ? 0.0f : u[d]) : h;
    }
}

template <class S>
void forward(const Call &c, const S *y, const float *w, const float *b, S *out) {
    const int64_t D = c.width, T = c.steps;
#pragma omp parallel num_threads(int(c.threads)) if (c.threads > 1)
    {
        std::vector<float> centred(D), x(D), u(D), v(D);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < c.rows; m++) {
            std::fill(v.begin(), v.end(), 0.0f);
            for (int64_t t = 0; t < T; t++) {
                if (t < c.given)
                    currents(c, y + (t * c.rows + m) * D, w, b, centred.data(), x.data());
                step(c, x.data(), v.data(), u.data());
                S *s = out + (t * c.rows + m) * D;
                const float *p = u.data();
#pragma omp simd
                for (int64_t d = 0; d < D; d++) store(s[d], p[d] >= 0 ? 1.0f : 0.0f);
            }
        }
    }
}

template <class S, class Surrogate>
void backward(const Call &c, const S *y, const float *w, const float *b, const S *grad, S *dy,
              float *dw, float *db) {
    const int64_t D = c.width, T = c.steps, G = c.given;
    std::vector<std::vector<float>> sums(c.threads);
#pragma omp parallel num_threads(int(c.threads)) if (c.threads > 1)
    {
        std::vector<float> centred(G * D), x(D), u(T * D), v(D), gv(D), gx(G * D), rstd(G);
        int me = 0;
#ifdef _OPENMP
        me = omp_get_thread_num();
#endif
        std::vector<float> &mine = sums[me];
        mine.assign(2 * D, 0.0f);
        const float beta = c.beta, gain = c.gain, threshold = c.threshold, alpha = c.alpha;
        const bool hard = c.hard, attached = c.attached;
#pragma omp for schedule(static)
        for (int64_t m = 0; m < c.rows; m++) {
            std::fill(v.begin(), v.end(), 0.0f);
            std::fill(gv.begin(), gv.end(), 0.0f);
            std::fill(gx.begin(), gx.end(), 0.0f);
            for (int64_t t = 0; t < T; t++) {
                if (t < G)
                    rstd[t] = currents(c, y + (t * c.rows + m) * D, w, b, &centred[t * D], x.data());
                step(c, x.data(), v.data(), &u[t * D]);
            }
            for (int64_t t = T - 1; t >= 0; t--) {
                const S *gs = grad + (t * c.rows + m) * D;
                const float *ut = &u[t * D];
                float *gxt = &gx[(t < G ? t : 0) * D], *g = gv.data();
#pragma omp simd
                for (int64_t d = 0; d < D; d++) {
                    const float slope = Surrogate::slope(ut[d], alpha);
                    float gh = slope * load(gs[d]) + (hard && ut[d] >= 0 ? 0.0f : g[d]);
                    if (attached) gh -= g[d] * slope * (hard ? ut[d] + threshold : threshold);
                    gxt[d] += gain * gh;
                    g[d] = beta * gh;
                }
            }
            for (int64_t t = 0; t < G; t++) {
                S *to = dy + (t * c.rows + m) * D;
                float *g = &gx[t * D];
                const float *n = &centred[t * D];
                float *sw = mine.data(), *sb = mine.data() + D;
                if (!c.norm) {
#pragma omp simd
                    for (int64_t d = 0; d < D; d++) store(to[d], g[d]);
                    continue;
                }
                float mean = 0, along = 0;
#pragma omp simd reduction(+ : mean, along)
                for (int64_t d = 0; d < D; d++) {
                    sw[d] += g[d] * n[d];
                    sb[d] += g[d];
                    g[d] *= w[d];
                    mean += g[d];
                    along += g[d] * n[d];
                }
                mean /= D;
                along /= D;
                const float r = rstd[t];
#pragma omp simd
                for (int64_t d = 0; d < D; d++) store(to[d], r * (g[d] - mean - n[d] * along));
            }
        }
    }
    if (!c.norm) return;
    for (const auto &mine : sums)  // in the order of the threads: the same sum every time
        for (int64_t d = 0; d < D && !mine.empty(); d++) {
            dw[d] += mine[d];
            db[d] += mine[D + d];
        }
}

template <class S>
void backward_of(const Call &c, const S *y, const float *w, const float *b, const S *grad, S *dy,
                 float *dw, float *db) {
    switch (c.surrogate) {
    case 0: return backward<S, Atan>(c, y, w, b, grad, dy, dw, db);
    case 1: return backward<S, Sigmoid>(c, y, w, b, grad, dy, dw, db);
    case 2: return backward<S, Triangle>(c, y, w, b, grad, dy, dw, db);
    default: return backward<S, Rectangle>(c, y, w, b, grad, dy, dw, db);
    }
}

}  // namespace

extern "C" {

void norm_lif_forward(const Call *c, const void *y, const float *w, const float *b, void *out) {
    if (c->bfloat16)
        forward(*c, (const BFloat16 *)y, w, b, (BFloat16 *)out);
    else
        forward(*c, (const float *)y, w, b, (float *)out);
}

void norm_lif_backward(const Call *c, const void *y, const float *w, const float *b,
                       const void *grad, void *dy, float *dw, float *db) {
    if (c->bfloat16)
        backward_of(*c, (const BFloat16 *)y, w, b, (const BFloat16 *)grad, (BFloat16 *)dy, dw, db);
    else
        backward_of(*c, (const float *)y, w, b, (const float *)grad, (float *)dy, dw, db);
}
}
