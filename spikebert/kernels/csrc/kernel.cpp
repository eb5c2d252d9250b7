// Layer normalisation and LIF neuron in one pass over memory, forward and backward.
//
// A row is one token: D currents at each of T steps. Forward, for d < D and t < T:
//     y[t] += shift                          the bias of the linear layer that y comes from, if any
//     x[t] = (y[t] - mean) rstd w + b        or y[t] itself, without a norm
//     h = beta v + gain x[t];  u = h - U_thr;  s[t] = u >= 0;  v = s[t] ? (hard ? 0 : u) : h
// Nothing but y and each row's mean and rstd is kept: the backward pass computes u again, a row at a
// time in the cache.
//     dL/dh = g(u) dL/ds + dv/dh dL/dv, less the reset's own path where it is attached
// y may hold one step that stands for T equal ones (`given` = 1). Membranes are float whatever y is.
//
// What attention would otherwise copy is done while a row is at hand: y and s may lie split by heads,
// [T, B, H, N, D/H], y may be some columns of a wider tensor, rows that `keep` marks as padding fire
// nothing, and `residual` is added to the spikes.
//
// The inner loop is over the steps of a few neighbouring neurons, `Lanes` of them at once, so that
// their membranes and currents stay in registers. The plain twin is `lif` in lif.py after torch's
// layer norm.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __AVX512F__
#include <immintrin.h>
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

// L numbers at once: the compiler's vectors, whatever the processor has.
template <int L> struct Lanes {
    typedef float V __attribute__((vector_size(4 * L)));
    typedef int32_t I __attribute__((vector_size(4 * L)));
    typedef uint32_t U __attribute__((vector_size(4 * L)));
    typedef uint16_t H __attribute__((vector_size(2 * L)));
};
constexpr int WIDE = 16;
template <int L> using Vec = typename Lanes<L>::V;

template <int L> Vec<L> all(float x) { return x - Vec<L>{}; }  // of -0 as of 0

template <int L> Vec<L> load(const float *p) {
    Vec<L> x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
template <int L> Vec<L> load(const BFloat16 *p) {
    typename Lanes<L>::H half;
    std::memcpy(&half, p, sizeof half);
#ifdef __AVX512F__
    if constexpr (L == 16)  // gcc makes two halves of what is one instruction
        return (Vec<L>)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#endif
    const auto wide = __builtin_convertvector(half, typename Lanes<L>::U) << 16;
    Vec<L> x;
    std::memcpy(&x, &wide, sizeof x);
    return x;
}
template <int L> void store(float *p, Vec<L> x) { std::memcpy(p, &x, sizeof x); }
template <int L> void store(BFloat16 *p, Vec<L> x) {  // to the nearest, ties to even; NaN stays NaN
#ifdef __AVX512BF16__
    if constexpr (L == 16) {
        const __m256bh half = _mm512_cvtneps_pbh((__m512)x);
        std::memcpy(p, &half, sizeof half);
        return;
    }
#endif
    typename Lanes<L>::U wide;
    std::memcpy(&wide, &x, sizeof x);
    wide = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    const typename Lanes<L>::I is_nan = x != x;
    wide = (wide & ~(typename Lanes<L>::U)is_nan) | ((typename Lanes<L>::U)is_nan & 0x7fc0);
    const auto half = __builtin_convertvector(wide, typename Lanes<L>::H);
    std::memcpy(p, &half, sizeof half);
}

template <int L> float sum(Vec<L> x) {
    if constexpr (L == 1) {
        return x[0];
    } else {  // halves, not one after the other
        Vec<L / 2> half[2];
        std::memcpy(half, &x, sizeof x);
        return sum<L / 2>(half[0] + half[1]);
    }
}
// a b + c, rounded once where that is cheap. Membranes do not use it: in float32 their spikes are
// bitwise the plain neuron's.
template <int L> Vec<L> fused(Vec<L> a, Vec<L> b, Vec<L> c) {
#ifdef __AVX512F__
    if constexpr (L == 16) return (Vec<L>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#endif
    return a * b + c;
}
template <int L> Vec<L> reciprocal(Vec<L> x) {  // to about 1e-7
#ifdef __AVX512F__
    if constexpr (L == 16) {  // an estimate of 14 bits and a step of Newton's
        const Vec<L> r = (Vec<L>)_mm512_rcp14_ps((__m512)x);
        return r * (Vec<L>)_mm512_fnmadd_ps((__m512)x, (__m512)r, (__m512)all<L>(2));
    }
#endif
    return 1 / x;
}

// The surrogate's derivative at u, alpha a; its number is that of kernel.py, or -1 for one known only
// when this runs. The arctangent's, a / 2 / (1 + (pi a u / 2)^2), is 1 / (2 / a + pi^2 a u^2 / 2).
template <int SURROGATE, int L> Vec<L> slope_of(int64_t kind, Vec<L> u, float a) {
    const Vec<L> far = u < 0 ? -u : u, tent = 1 - a * far;
    Vec<L> e;
    switch (SURROGATE < 0 ? kind : SURROGATE) {
    case 0: return reciprocal<L>(fused<L>(u * u, all<L>(4.93480220054467931f * a), all<L>(2 / a)));
    case 1:
        for (int i = 0; i < L; i++) e[i] = 1 / (1 + std::exp(-a * u[i]));
        return a * e * (1 - e);
    case 2: return tent > 0 ? a * tent : Vec<L>{};
    default: return far < 0.5f / a ? all<L>(a) : Vec<L>{};
    }
}

// Where the D values of row m = (b, n) at step t lie: `heads` pieces, `apart` from each other.
struct Layout {
    int64_t heads, apart, row, step, tokens, sample;
    Layout(const Call &c, int64_t heads, int64_t stride)
        : heads(heads), apart(c.tokens * (c.width / heads)),
          row(heads > 1 ? c.width / heads : stride), step(c.rows * (heads > 1 ? c.width : stride)),
          tokens(heads > 1 ? c.tokens : c.rows), sample(c.tokens * c.width) {}
    int64_t at(int64_t m) const { return m / tokens * sample + m % tokens * row; }
};

template <int L> using Count = std::integral_constant<int, L>;

// Calls body(lanes, d, i, o) for the D neurons of a row, which lie i and o after its first one in
// the layouts `in` and `to`. What a body knows it holds by value: what lies in memory would be read
// again after every store.
template <class Body> void each(int64_t width, const Layout &in, const Layout &to, Body body) {
    const int64_t heads = std::max(in.heads, to.heads), piece = width / heads;
    for (int64_t h = 0; h < heads; h++) {
        const int64_t d = h * piece, i = in.heads > 1 ? h * in.apart : d,
                      o = to.heads > 1 ? h * to.apart : d;
        int64_t j = 0;
        for (; j + WIDE <= piece; j += WIDE) body(Count<WIDE>{}, d + j, i + j, o + j);
        for (; j < piece; j++) body(Count<1>{}, d + j, i + j, o + j);
    }
}

// What is known of a call when this is compiled: the loops over steps then unroll, and the membranes
// of a few neurons stay in registers.
struct Anything {
    static constexpr int steps = 0, given = 0, surrogate = -1;
    static constexpr bool common = false;
};
template <int T, int G> struct Common {  // soft reset, detached, arctangent
    static constexpr int steps = T, given = G, surrogate = 0;
    static constexpr bool common = true;
};

struct Neuron {
    float beta, gain, threshold, alpha;
    int64_t surrogate;
    bool hard, attached;
    explicit Neuron(const Call &c)
        : beta(c.beta), gain(c.gain), threshold(c.threshold), alpha(c.alpha),
          surrogate(c.surrogate), hard(c.hard), attached(c.attached) {}
    // One step: membrane v and current to u and the membrane after reset.
    template <class K, int L> Vec<L> step(Vec<L> current, Vec<L> &v) const {
        const Vec<L> h = beta * v + gain * current, u = h - threshold;
        v = u >= 0 ? (!K::common && hard ? Vec<L>{} : u) : h;
        return u;
    }
    // One step back: u, dL/ds and dL/dv after it, which becomes that before it, to dL/dh, a gain'th of
    // that of the current.
    template <class K, int L> Vec<L> back(Vec<L> u, Vec<L> ds, Vec<L> &dv) const {
        const Vec<L> slope = slope_of<K::surrogate, L>(surrogate, u, alpha);
        Vec<L> dh = fused<L>(slope, ds, !K::common && hard ? (u >= 0 ? Vec<L>{} : dv) : dv);
        if (!K::common && attached) dh -= dv * slope * (hard ? u + threshold : all<L>(threshold));
        dv = beta * dh;
        return dh;
    }
};

// L numbers, or products of L numbers, added to the first L of the sixteen that a sum is kept in.
template <int L> void add(Vec<WIDE> &total, Vec<L> x) {
    if constexpr (L == WIDE)
        total += x;
    else
        total[0] += x[0];
}
template <int L> void add(Vec<WIDE> &total, Vec<L> a, Vec<L> b) {
    if constexpr (L == WIDE)
        total = fused<L>(a, b, total);
    else
        total[0] += a[0] * b[0];
}

// Room of one thread: a row's shifted currents x [G, D] forward, normed ones backward; the gradients
// g [G, D], and vectors for what is not known when this is compiled.
template <class K> struct Room {
    int64_t D, G, T;
    std::vector<float> x, g;
    std::unique_ptr<Vec<WIDE>[]> vectors;
    explicit Room(const Call &c)
        : D(c.width), G(c.given), T(c.steps), x(G * D), g(G * D), vectors(new Vec<WIDE>[3 * T + 2 * G]) {}

    // A row of y to x, and its mean and 1 / deviation for each t < G to `stats`.
    template <bool NORM, class S>
    void read(float eps, const Layout &in, const Layout &to, const S *y, const float *shift, int64_t next, float *stats) {
        const int64_t D = this->D, G = K::given ? K::given : this->G, far = in.step;
        float *x = this->x.data(), *mean = stats, *rstd = stats + G;
        Vec<WIDE> known[K::given ? K::given : 1], *sums = K::given ? known : vectors.get();
        std::fill_n(sums, G, Vec<WIDE>{});
        each(D, in, to, [=](auto lanes, int64_t d, int64_t i, int64_t) {
            constexpr int L = decltype(lanes)::value;
            const Vec<L> by = shift ? load<L>(shift + d) : Vec<L>{};
#pragma GCC unroll 8
            for (int64_t t = 0; t < G; t++) {
                if (L == 1 || i % 32 == 0) __builtin_prefetch(y + t * far + i + next);
                const Vec<L> current = load<L>(y + t * far + i) + by;
                store<L>(x + d * G + t * L, current);
                if (NORM) add<L>(sums[t], current);
            }
        });
        if (!NORM) return;
        for (int64_t t = 0; t < G; t++) mean[t] = sum<WIDE>(sums[t]) / D, sums[t] = Vec<WIDE>{};
        each(D, in, to, [=](auto lanes, int64_t d, int64_t, int64_t) {
            constexpr int L = decltype(lanes)::value;
#pragma GCC unroll 8
            for (int64_t t = 0; t < G; t++) {
                const Vec<L> centred = load<L>(x + d * G + t * L) - mean[t];
                add<L>(sums[t], centred, centred);
            }
        });
        for (int64_t t = 0; t < G; t++) rstd[t] = 1 / std::sqrt(sum<WIDE>(sums[t]) / D + eps);
    }
};

template <class K, bool NORM, class S>
void forward(const Call &c, const S *y, const float *shift, const float *w, const float *b, const uint8_t *keep,
             const S *residual, S *out, float *stats) {
    const int64_t D = c.width, T = K::steps ? K::steps : c.steps, G = K::given ? K::given : c.given;
    const int64_t added = c.added;
    const Neuron neuron(c);
    const Layout in(c, c.heads_in, c.stride), to(c, c.heads_out, D);
#pragma omp parallel num_threads(int(c.threads)) if (c.threads > 1)
    {
        Room<K> room(c);
        const float *x = room.x.data();
#pragma omp for schedule(static)
        for (int64_t m = 0; m < c.rows; m++) {
            const bool silent = keep && !keep[m];
            float *mean = NORM ? stats + 2 * G * m : nullptr, *rstd = mean + G;
            if (!silent) room.template read<NORM>(c.eps, in, to, y + in.at(m), shift, in.at(m + 1) - in.at(m), mean);
            const S *base = residual + to.at(m);
            S *s = out + to.at(m);
            const int64_t far = to.step;
            each(D, in, to, [=](auto lanes, int64_t d, int64_t, int64_t o) {
                constexpr int L = decltype(lanes)::value;
                const Vec<L> scale = NORM ? load<L>(w + d) : Vec<L>{}, by = NORM ? load<L>(b + d) : Vec<L>{};
                Vec<L> v{}, current{}, below{};
#pragma GCC unroll 8
                for (int64_t t = 0; t < T; t++) {
                    if (t < added) below = load<L>(base + t * far + o);
                    Vec<L> above = below;
                    if (!silent) {
                        if (t < G) current = load<L>(x + d * G + t * L);
                        if (t < G && NORM) current = fused<L>((current - mean[t]) * rstd[t], scale, by);
                        above = neuron.step<K, L>(current, v) >= 0 ? below + 1 : below;
                    }
                    store<L>(s + t * far + o, above);
                }
            });
        }
    }
}

template <class K, bool NORM, class S>
void backward(const Call &c, const S *y, const float *shift, const float *w, const float *b, const uint8_t *keep,
              const float *stats, const S *grad, S *dy, float *dshift, float *dw, float *db) {
    const int64_t D = c.width, T = K::steps ? K::steps : c.steps, G = K::given ? K::given : c.given;
    const Neuron neuron(c);
    const Layout in(c, c.heads_in, c.stride), to(c, c.heads_out, D);
    std::vector<std::vector<float>> sums(c.threads);
#pragma omp parallel num_threads(int(c.threads)) if (c.threads > 1)
    {
        Room<K> room(c);
        float *nx = room.x.data(), *gx = room.g.data();
        int me = 0;
#ifdef _OPENMP
        me = omp_get_thread_num();
#endif
        sums[me].assign(3 * D, 0.0f);
        float *mine = sums[me].data();
#pragma omp for schedule(static)
        for (int64_t m = 0; m < c.rows; m++) {
            S *into = dy + in.at(m);
            const int64_t near = in.step, far = to.step;
            if (keep && !keep[m]) {
                each(D, in, to, [=](auto lanes, int64_t, int64_t i, int64_t) {
                    constexpr int L = decltype(lanes)::value;
                    for (int64_t t = 0; t < G; t++) store<L>(into + t * near + i, Vec<L>{});
                });
                continue;
            }
            const S *from = y + in.at(m), *given = grad + to.at(m);
            const int64_t next = in.at(m + 1) - in.at(m), after = to.at(m + 1) - to.at(m);
            const float *mean = NORM ? stats + 2 * G * m : nullptr, *rstd = mean + G;
            // Of each t: sums over d of g w, and of g w n.
            Vec<WIDE> known[K::given ? 2 * K::given : 1];
            Vec<WIDE> *level = K::given ? known : room.vectors.get() + 3 * T, *along = level + G;
            std::fill_n(level, 2 * G, Vec<WIDE>{});
            void *spare = room.vectors.get();
            each(D, in, to, [=](auto lanes, int64_t d, int64_t i, int64_t o) {
                constexpr int L = decltype(lanes)::value;
                Vec<L> local[K::steps ? 3 * K::steps : 1];
                Vec<L> *n = K::steps ? local : (Vec<L> *)spare, *u = n + T, *g = u + T;
                const Vec<L> more = shift ? load<L>(shift + d) : Vec<L>{};
                const Vec<L> scale = NORM ? load<L>(w + d) : Vec<L>{}, by = NORM ? load<L>(b + d) : Vec<L>{};
                Vec<L> v{}, dv{}, current{};
#pragma GCC unroll 8
                for (int64_t t = 0; t < T; t++) {
                    if (t < G) {
                        if (L == 1 || i % 32 == 0) __builtin_prefetch(from + t * near + i + next);
                        current = load<L>(from + t * near + i) + more;
                    }
                    if (t < G && NORM) {
                        n[t] = (current - mean[t]) * rstd[t];
                        store<L>(nx + d * G + t * L, n[t]);
                        current = fused<L>(n[t], scale, by);
                    }
                    u[t] = neuron.step<K, L>(current, v);
                }
#pragma GCC unroll 8
                for (int64_t t = T - 1; t >= 0; t--) {
                    if (L == 1 || o % 32 == 0) __builtin_prefetch(given + t * far + o + after);
                    g[t] = neuron.back<K, L>(u[t], load<L>(given + t * far + o), dv);
                }
                if (G < T)
                    for (int64_t t = 1; t < T; t++) g[0] += g[t];
                if (!NORM) {
#pragma GCC unroll 8
                    for (int64_t t = 0; t < G; t++) store<L>(into + t * near + i, neuron.gain * g[t]);
                    return;
                }
                const Vec<L> slope = neuron.gain * scale;
                Vec<L> of_w = load<L>(mine + 3 * d), of_b = load<L>(mine + 3 * d + L);
#pragma GCC unroll 8
                for (int64_t t = 0; t < G; t++) {
                    of_w = fused<L>(g[t], n[t], of_w);
                    of_b += g[t];
                    g[t] *= slope;
                    add<L>(level[t], g[t]);
                    add<L>(along[t], g[t], n[t]);
                    store<L>(gx + d * G + t * L, g[t]);
                }
                store<L>(mine + 3 * d, of_w);
                store<L>(mine + 3 * d + L, of_b);
            });
            if (!NORM) continue;
            for (int64_t t = 0; t < G; t++) {
                level[t] = all<WIDE>(sum<WIDE>(level[t]) / D);
                along[t] = all<WIDE>(sum<WIDE>(along[t]) / D);
            }
            each(D, in, to, [=](auto lanes, int64_t d, int64_t i, int64_t) {
                constexpr int L = decltype(lanes)::value;
                Vec<L> of_y = load<L>(mine + 3 * d + 2 * L);
#pragma GCC unroll 8
                for (int64_t t = 0; t < G; t++) {
                    const Vec<L> n = load<L>(nx + d * G + t * L);
                    const Vec<L> g = rstd[t] * fused<L>(n, all<L>(-along[t][0]), load<L>(gx + d * G + t * L) - level[t][0]);
                    of_y += g;
                    store<L>(into + t * near + i, g);
                }
                store<L>(mine + 3 * d + 2 * L, of_y);
            });
        }
    }
    if (!NORM) return;
    for (const auto &each_thread : sums) {  // in their order: the same sum every time
        if (each_thread.empty()) continue;
        const float *mine = each_thread.data();
        each(D, in, to, [=](auto lanes, int64_t d, int64_t, int64_t) {
            constexpr int L = decltype(lanes)::value;
            store<L>(dw + d, load<L>(dw + d) + neuron.gain * load<L>(mine + 3 * d));
            store<L>(db + d, load<L>(db + d) + neuron.gain * load<L>(mine + 3 * d + L));
            if (dshift) store<L>(dshift + d, load<L>(dshift + d) + load<L>(mine + 3 * d + 2 * L));
        });
    }
}

// Calls body(what is known, norm, zero of y's type).
template <class Body> void as(const Call &c, Body body) {
    const auto normed = [&](auto known, auto zero) {
        c.norm ? body(known, std::true_type{}, zero) : body(known, std::false_type{}, zero);
    };
    const bool common = c.bfloat16 && !c.hard && !c.attached && c.surrogate == 0;
    if (common && c.steps == c.given) {
        if (c.steps == 1) return normed(Common<1, 1>{}, BFloat16{});
        if (c.steps == 2) return normed(Common<2, 2>{}, BFloat16{});
        if (c.steps == 4) return normed(Common<4, 4>{}, BFloat16{});
        if (c.steps == 8) return normed(Common<8, 8>{}, BFloat16{});
    }
    if (common && c.steps == 4 && c.given == 1) return normed(Common<4, 1>{}, BFloat16{});
    c.bfloat16 ? normed(Anything{}, BFloat16{}) : normed(Anything{}, float{});
}

}  // namespace

extern "C" {

void norm_lif_forward(const Call *c, const void *y, const float *shift, const float *w, const float *b,
                      const uint8_t *keep, const void *residual, void *out, float *stats) {
    as(*c, [&](auto known, auto norm, auto zero) {
        using S = decltype(zero);
        forward<decltype(known), norm()>(*c, (const S *)y, shift, w, b, keep, (const S *)residual, (S *)out, stats);
    });
}

void norm_lif_backward(const Call *c, const void *y, const float *shift, const float *w, const float *b,
                       const uint8_t *keep, const float *stats, const void *grad, void *dy, float *dshift, float *dw,
                       float *db) {
    as(*c, [&](auto known, auto norm, auto zero) {
        using S = decltype(zero);
        backward<decltype(known), norm()>(*c, (const S *)y, shift, w, b, keep, stats, (const S *)grad, (S *)dy, dshift, dw, db);
    });
}
}
