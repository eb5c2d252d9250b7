// Layer normalisation and LIF neuron in one pass over memory, forward and backward.
//
// A row is one token: D currents at each of T steps. Forward, for d < D and t < T:
//     y[t] += shift                          the bias of the linear layer that y comes from, if any
//     x[t] = (y[t] - mean) rstd w + b        or y[t] itself, without a norm
//     h = beta v + gain x[t];  u = h - U_thr;  s[t] = u >= 0;  v = s[t] ? (hard ? 0 : u) : h
// Nothing but y is kept: the backward pass computes u again, a row at a time in the cache.
//     dL/dh = g(u) dL/ds + dv/dh dL/dv, less the reset's own path where it is attached
// y may hold one step that stands for T equal ones (`given` = 1). Membranes are float whatever y is.
//
// What attention would otherwise copy is done while a row is at hand: y and s may lie split by heads,
// [T, B, H, N, D/H], y may be some columns of a wider tensor, rows that `keep` marks as padding fire
// nothing, and `residual` is added to the spikes.
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
    // Elements between the rows of y; its heads and those of s, 1 where it lies row by row; N; steps
    // of the residual, 0 where there is none.
    int64_t stride, heads_in, heads_out, tokens, added;
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

// Where the D values of row m = (b, n) at step t lie: `heads` pieces, `apart` from each other.
struct Layout {
    int64_t heads, piece, apart, row, step, tokens, sample;
    Layout(const Call &c, int64_t heads, int64_t stride)
        : heads(heads), piece(c.width / heads), apart(c.tokens * piece),
          row(heads > 1 ? piece : stride), step(c.rows * (heads > 1 ? c.width : stride)),
          tokens(heads > 1 ? c.tokens : c.rows), sample(c.tokens * c.width) {}
    int64_t at(int64_t t, int64_t m) const {
        return t * step + m / tokens * sample + m % tokens * row;
    }
};

template <class S> void read(const Layout &to, const S *p, float *x) {
    for (int64_t h = 0; h < to.heads; h++) {
        const S *from = p + h * to.apart;
        float *into = x + h * to.piece;
#pragma omp simd
        for (int64_t j = 0; j < to.piece; j++) into[j] = load(from[j]);
    }
}
template <class S> void write(const Layout &to, const float *x, S *p) {
    for (int64_t h = 0; h < to.heads; h++) {
        const float *from = x + h * to.piece;
        S *into = p + h * to.apart;
#pragma omp simd
        for (int64_t j = 0; j < to.piece; j++) store(into[j], from[j]);
    }
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

// The currents y[D] of one row and step become x[D] = LN(y + shift) in place; `centred` gets
// (y - mean) rstd. The value is rstd.
float normalise(const Call &c, const float *shift, const float *w, const float *b, float *centred,
                float *x) {
    const int64_t D = c.width;
    if (!c.norm) return 1;
    if (shift) {
#pragma omp simd
        for (int64_t d = 0; d < D; d++) x[d] += shift[d];
    }
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t d = 0; d < D; d++) sum += x[d];
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
void forward(const Call &c, const S *y, const float *shift, const float *w, const float *b, const uint8_t *keep,
             const S *residual, S *out) {
    const int64_t D = c.width, T = c.steps;
    const Layout in(c, c.heads_in, c.stride), to(c, c.heads_out, D);
#pragma omp parallel num_threads(int(c.threads)) if (c.threads > 1)
    {
        std::vector<float> centred(D), x(D), u(D), v(D), s(D), base(D);
#pragma omp for schedule(static)
        for (int64_t m = 0; m < c.rows; m++) {
            const bool silent = keep && !keep[m];
            std::fill(v.begin(), v.end(), 0.0f);
            std::fill(s.begin(), s.end(), 0.0f);
            for (int64_t t = 0; t < T; t++) {
                if (!silent) {
                    if (t < c.given) {
                        read(in, y + in.at(t, m), x.data());
                        normalise(c, shift, w, b, centred.data(), x.data());
                    }
                    step(c, x.data(), v.data(), u.data());
                    const float *p = u.data();
                    float *q = s.data();
#pragma omp simd
                    for (int64_t d = 0; d < D; d++) q[d] = p[d] >= 0 ? 1.0f : 0.0f;
                }
                if (t < c.added) read(to, residual + to.at(t, m), base.data());
                if (c.added) {
                    const float *p = base.data();
                    float *q = s.data();
#pragma omp simd
                    for (int64_t d = 0; d < D; d++) q[d] += p[d];
                }
                write(to, s.data(), out + to.at(t, m));
                if (silent) std::fill(s.begin(), s.end(), 0.0f);
            }
        }
    }
}

template <class S, class Surrogate>
void backward(const Call &c, const S *y, const float *shift, const float *w, const float *b, const uint8_t *keep,
              const S *grad, S *dy, float *dshift, float *dw, float *db) {
    const int64_t D = c.width, T = c.steps, G = c.given;
    const Layout in(c, c.heads_in, c.stride), to(c, c.heads_out, D);
    std::vector<std::vector<float>> sums(c.threads);
#pragma omp parallel num_threads(int(c.threads)) if (c.threads > 1)
    {
        std::vector<float> centred(G * D), x(D), u(T * D), v(D), gs(D), gv(D), gx(G * D), rstd(G);
        int me = 0;
#ifdef _OPENMP
        me = omp_get_thread_num();
#endif
        std::vector<float> &mine = sums[me];
        mine.assign(3 * D, 0.0f);
        const float beta = c.beta, gain = c.gain, threshold = c.threshold, alpha = c.alpha;
        const bool hard = c.hard, attached = c.attached;
#pragma omp for schedule(static)
        for (int64_t m = 0; m < c.rows; m++) {
            std::fill(v.begin(), v.end(), 0.0f);
            std::fill(gv.begin(), gv.end(), 0.0f);
            std::fill(gx.begin(), gx.end(), 0.0f);
            if (keep && !keep[m]) {
                for (int64_t t = 0; t < G; t++) write(in, gx.data(), dy + in.at(t, m));
                continue;
            }
            for (int64_t t = 0; t < T; t++) {
                if (t < G) {
                    read(in, y + in.at(t, m), x.data());
                    rstd[t] = normalise(c, shift, w, b, &centred[t * D], x.data());
                }
                step(c, x.data(), v.data(), &u[t * D]);
            }
            for (int64_t t = T - 1; t >= 0; t--) {
                read(to, grad + to.at(t, m), gs.data());
                const float *ut = &u[t * D], *given = gs.data();
                float *gxt = &gx[(t < G ? t : 0) * D], *g = gv.data();
#pragma omp simd
                for (int64_t d = 0; d < D; d++) {
                    const float slope = Surrogate::slope(ut[d], alpha);
                    float gh = slope * given[d] + (hard && ut[d] >= 0 ? 0.0f : g[d]);
                    if (attached) gh -= g[d] * slope * (hard ? ut[d] + threshold : threshold);
                    gxt[d] += gain * gh;
                    g[d] = beta * gh;
                }
            }
            for (int64_t t = 0; t < G; t++) {
                float *g = &gx[t * D];
                const float *n = &centred[t * D];
                float *sw = mine.data(), *sb = sw + D, *sy = sb + D;
                if (!c.norm) {
                    write(in, g, dy + in.at(t, m));
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
                for (int64_t d = 0; d < D; d++) {
                    g[d] = r * (g[d] - mean - n[d] * along);
                    sy[d] += g[d];
                }
                write(in, g, dy + in.at(t, m));
            }
        }
    }
    if (!c.norm) return;
    for (const auto &mine : sums)  // in the order of the threads: the same sum every time
        for (int64_t d = 0; d < D && !mine.empty(); d++) {
            dw[d] += mine[d];
            db[d] += mine[D + d];
            if (dshift) dshift[d] += mine[2 * D + d];
        }
}

template <class S>
void backward_of(const Call &c, const S *y, const float *shift, const float *w, const float *b, const uint8_t *keep,
                 const S *grad, S *dy, float *dshift, float *dw, float *db) {
    switch (c.surrogate) {
    case 0: return backward<S, Atan>(c, y, shift, w, b, keep, grad, dy, dshift, dw, db);
    case 1: return backward<S, Sigmoid>(c, y, shift, w, b, keep, grad, dy, dshift, dw, db);
    case 2: return backward<S, Triangle>(c, y, shift, w, b, keep, grad, dy, dshift, dw, db);
    default: return backward<S, Rectangle>(c, y, shift, w, b, keep, grad, dy, dshift, dw, db);
    }
}

}  // namespace

extern "C" {

void norm_lif_forward(const Call *c, const void *y, const float *shift, const float *w, const float *b,
                      const uint8_t *keep, const void *residual, void *out) {
    if (c->bfloat16)
        forward(*c, (const BFloat16 *)y, shift, w, b, keep, (const BFloat16 *)residual, (BFloat16 *)out);
    else
        forward(*c, (const float *)y, shift, w, b, keep, (const float *)residual, (float *)out);
}

void norm_lif_backward(const Call *c, const void *y, const float *shift, const float *w, const float *b,
                       const uint8_t *keep, const void *grad, void *dy, float *dshift, float *dw, float *db) {
    if (c->bfloat16)
        backward_of(*c, (const BFloat16 *)y, shift, w, b, keep, (const BFloat16 *)grad, (BFloat16 *)dy,
                    dshift, dw, db);
    else
        backward_of(*c, (const float *)y, shift, w, b, keep, (const float *)grad, (float *)dy, dshift, dw, db);
}
}
