// Fourier transforms along one axis, for as many channels at a time as a vector has lanes.
//
// Stockham's algorithm: each pass reads one buffer and writes another, in order, so nothing is permuted afterwards. The
// first pass reads through `load`, the last writes through `store`: packing, padding and scattering need no extra pass.
// The inverse transform is the forward one with real and imaginary parts swapped before and after. Nothing is normalised.
#pragma once

#include "simd.hpp"
#include "transform_size.hpp"

namespace SURVEYFLOW_ISA {

template <int radix>
struct Butterfly;

template <>
struct Butterfly<2> {
    static ALWAYS_INLINE void apply(Complex* x) {
        const Complex sum = x[0] + x[1];
        x[1] = x[0] - x[1];
        x[0] = sum;
    }
};

template <>
struct Butterfly<3> {
    static ALWAYS_INLINE void apply(Complex* x) {
        constexpr float sine = 0.86602540378443864676f;  // of 60 degrees
        const Complex sum = x[1] + x[2], difference = x[1] - x[2];
        const Complex middle = {x[0].re - 0.5f * sum.re, x[0].im - 0.5f * sum.im};
        const Complex turned = {sine * difference.im, -sine * difference.re};
        x[0] = x[0] + sum;
        x[1] = middle + turned;
        x[2] = middle - turned;
    }
};

template <>
struct Butterfly<4> {
    static ALWAYS_INLINE void apply(Complex* x) {
        const Complex a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = times_minus_i(x[1] - x[3]);
        x[0] = a + c;
        x[1] = b + d;
        x[2] = a - c;
        x[3] = b - d;
    }
};

template <>
struct Butterfly<5> {
    static ALWAYS_INLINE void apply(Complex* x) {
        constexpr float cos1 = 0.30901699437494742410f, cos2 = -0.80901699437494742410f;  // of 72 and 144 degrees
        constexpr float sin1 = 0.95105651629515357212f, sin2 = 0.58778525229247312917f;
        const Complex a = x[1] + x[4], b = x[2] + x[3], c = x[1] - x[4], d = x[2] - x[3];
        const Complex m1 = {x[0].re + cos1 * a.re + cos2 * b.re, x[0].im + cos1 * a.im + cos2 * b.im};
        const Complex m2 = {x[0].re + cos2 * a.re + cos1 * b.re, x[0].im + cos2 * a.im + cos1 * b.im};
        const Complex n1 = times_minus_i({sin1 * c.re + sin2 * d.re, sin1 * c.im + sin2 * d.im});
        const Complex n2 = times_minus_i({sin2 * c.re - sin1 * d.re, sin2 * c.im - sin1 * d.im});
        x[0] = x[0] + a + b;
        x[1] = m1 + n1;
        x[2] = m2 + n2;
        x[3] = m2 - n2;
        x[4] = m1 - n1;
    }
};

// Good and Thomas: 6 = 2 x 3 needs no twiddle factors.
template <>
struct Butterfly<6> {
    static ALWAYS_INLINE void apply(Complex* x) {
        Complex even[3] = {x[0], x[2], x[4]}, odd[3] = {x[3], x[5], x[1]};
        Butterfly<3>::apply(even);
        Butterfly<3>::apply(odd);
        x[0] = even[0] + odd[0];
        x[1] = even[1] - odd[1];
        x[2] = even[2] + odd[2];
        x[3] = even[0] - odd[0];
        x[4] = even[1] + odd[1];
        x[5] = even[2] - odd[2];
    }
};

template <>
struct Butterfly<8> {
    static ALWAYS_INLINE void apply(Complex* x) {
        constexpr float half = 0.70710678118654752440f;  // of sqrt(2)
        Complex even[4] = {x[0], x[2], x[4], x[6]}, odd[4] = {x[1], x[3], x[5], x[7]};
        Butterfly<4>::apply(even);
        Butterfly<4>::apply(odd);
        odd[1] = {half * (odd[1].re + odd[1].im), half * (odd[1].im - odd[1].re)};
        odd[2] = times_minus_i(odd[2]);
        odd[3] = {half * (odd[3].im - odd[3].re), -half * (odd[3].re + odd[3].im)};
        for (int k = 0; k < 4; ++k) {
            x[k] = even[k] + odd[k];
            x[k + 4] = even[k] - odd[k];
        }
    }
};

// One pass over transforms of `length` points, `stride` of them interleaved.
template <int radix, class Load, class Store>
ALWAYS_INLINE void fft_pass(const TransformSize& size, int length, int stride, Load load, Store store) {
    const int part = length / radix, step = size.points / length;
    for (int q = 0; q < stride; ++q) {
        Complex x[radix];
        UNROLL for (int j = 0; j < radix; ++j) x[j] = load(q + stride * part * j);
        Butterfly<radix>::apply(x);
        UNROLL for (int k = 0; k < radix; ++k) store(q + stride * k, x[k]);
    }
    for (int p = 1; p < part; ++p) {
        for (int q = 0; q < stride; ++q) {
            Complex x[radix];
            UNROLL for (int j = 0; j < radix; ++j) x[j] = load(q + stride * (p + part * j));
            Butterfly<radix>::apply(x);
            store(q + stride * radix * p, x[0]);
            UNROLL for (int k = 1; k < radix; ++k) {
                const Vec c = broadcast(size.cosine[p * k * step]), s = broadcast(size.sine[p * k * step]);
                store(q + stride * (radix * p + k), Complex{x[k].re * c + x[k].im * s, x[k].im * c - x[k].re * s});
            }
        }
    }
}

template <class Load, class Store>
ALWAYS_INLINE void fft_any_pass(const TransformSize& size, int pass, int length, int stride, Load load, Store store) {
    switch (size.radix[pass]) {
        case 2: return fft_pass<2>(size, length, stride, load, store);
        case 3: return fft_pass<3>(size, length, stride, load, store);
        case 4: return fft_pass<4>(size, length, stride, load, store);
        case 5: return fft_pass<5>(size, length, stride, load, store);
        case 6: return fft_pass<6>(size, length, stride, load, store);
        case 8: return fft_pass<8>(size, length, stride, load, store);
    }
}

// A pass from buffer to buffer.
inline void fft_middle_pass(const TransformSize& size, int pass, int length, int stride, const Complex* from, Complex* to) {
    fft_any_pass(size, pass, length, stride, [from](int i) { return from[i]; }, [to](int i, Complex v) { to[i] = v; });
}

// Transforms the points that `load(index)` yields, and gives each result to `store(index, value)`.
// `work` holds twice as many values as there are points.
template <class Load, class Store>
ALWAYS_INLINE void fft(const TransformSize& size, Complex* work, Load load, Store store) {
    Complex *from = work, *to = work + size.points;
    fft_any_pass(size, 0, size.points, 1, load, [from](int i, Complex v) { from[i] = v; });
    int length = size.points / size.radix[0], stride = size.radix[0];
    const int last = size.n_passes - 1;
    for (int pass = 1; pass < last; ++pass) {
        fft_middle_pass(size, pass, length, stride, from, to);
        length /= size.radix[pass];
        stride *= size.radix[pass];
        Complex* const emptied = from;
        from = to;
        to = emptied;
    }
    const Complex* const ready = from;
    fft_any_pass(size, last, length, stride, [ready](int i) { return ready[i]; }, store);
}

}  // namespace SURVEYFLOW_ISA
