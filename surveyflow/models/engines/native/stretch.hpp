// The preparation of a cutout for a network: the arcsinh of its valid pixels, in double precision, as sky/stretch.py defines it.
#pragma once

#include <cstring>

#include "kernels.hpp"
#include "memory.hpp"
#include "simd.hpp"

namespace SURVEYFLOW_ISA {

typedef std::uint64_t WordVec __attribute__((vector_size(4 * lanes)));

ALWAYS_INLINE DoubleVec square_root(DoubleVec values) {
    for (int lane = 0; lane < double_lanes; ++lane) values[lane] = __builtin_sqrt(values[lane]);
    return values;
}

// log(1 + u) for u >= 0, to one unit in the last place: the algorithm of FreeBSD's s_log1p.c, without branches.
ALWAYS_INLINE DoubleVec log_1p(DoubleVec u) {
    constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    constexpr double two_to_52 = 4503599627370496.0;
    const DoubleVec v = 1.0 + u;
    const DoubleVec lost = u > 1.0 ? 1.0 - (v - u) : u - (v - 1.0);  // by the rounding of v
    const WordVec bits = (WordVec)v + (0x95F62ULL << 32);            // carries into the exponent from sqrt(2) on
    const DoubleVec exponent = (DoubleVec)(bits >> 52 | 0x4330000000000000ULL) - (two_to_52 + 1023.0);
    const DoubleVec f = (DoubleVec)((bits & 0x000FFFFFFFFFFFFFULL) + (0x3FE6A09EULL << 32)) - 1.0;
    const DoubleVec half_square = 0.5 * f * f, s = f / (2.0 + f), z = s * s, w = z * z;
    const DoubleVec even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    const DoubleVec odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    return s * (half_square + (even + odd)) + (exponent * ln2_low + lost / v) - half_square + f + exponent * ln2_high;
}

// |x| up to 1e150.
ALWAYS_INLINE DoubleVec arcsinh(DoubleVec x) {
    constexpr std::uint64_t sign = 1ULL << 63;
    const DoubleVec size = (DoubleVec)((WordVec)x & ~sign), square = x * x;
    const DoubleVec found = log_1p(size + square / (1.0 + square_root(1.0 + square)));
    return (DoubleVec)((WordVec)found | ((WordVec)x & sign));
}

struct Range {
    DoubleVec lowest, highest;

    explicit Range(DoubleVec first) : lowest(first), highest(first) {}

    ALWAYS_INLINE void include(DoubleVec values) {
        lowest = values < lowest ? values : lowest;
        highest = values > highest ? values : highest;
    }

    double least() const {
        double found = lowest[0];
        for (int lane = 1; lane < double_lanes; ++lane) found = lowest[lane] < found ? lowest[lane] : found;
        return found;
    }

    double greatest() const {
        double found = highest[0];
        for (int lane = 1; lane < double_lanes; ++lane) found = highest[lane] > found ? highest[lane] : found;
        return found;
    }
};

inline std::int64_t whole_vectors(std::int64_t n) { return (n + double_lanes - 1) / double_lanes * double_lanes; }

inline std::size_t stretch_scratch_bytes(std::int64_t n_pixels) {
    return Scratch::rounded(4 * whole_vectors(n_pixels)) + Scratch::rounded(8 * whole_vectors(n_pixels));
}

// The valid pixels -> `kept`, in order, the last of them repeated to a whole vector; returns their number.
inline std::int64_t keep_valid(const float* pixels, const std::uint8_t* valid, std::int64_t n_pixels, float* kept) {
    std::int64_t n = 0;
    if (std::memchr(valid, 0, n_pixels) == nullptr) {
        std::memcpy(kept, pixels, 4 * n_pixels);
        n = n_pixels;
    } else {
        for (std::int64_t i = 0; i < n_pixels; ++i) {
            kept[n] = pixels[i];
            n += valid[i] != 0;
        }
    }
    for (std::int64_t i = n; n > 0 && i < whole_vectors(n); ++i) kept[i] = kept[n - 1];
    return n;
}

inline void stretch_cutout(const StretchTask& task, std::int64_t cutout, Scratch& scratch) {
    const std::int64_t n_pixels = task.n_pixels;
    const std::uint8_t* const valid = task.valid + cutout * n_pixels;
    float* const prepared = task.prepared + cutout * n_pixels;
    const double level = task.levels[cutout], softening = task.softenings[cutout];
    float* const kept = scratch.take<float>(whole_vectors(n_pixels));
    double* const stretched = scratch.take<double>(whole_vectors(n_pixels));
    for (std::int64_t i = 0; i < n_pixels; ++i) prepared[i] = 0.0f;
    const std::int64_t n = softening > 0.0 ? keep_valid(task.pixels + cutout * n_pixels, valid, n_pixels, kept) : 0;
    if (n == 0) return;

    Range light(load_doubles(kept) - level), values(arcsinh((load_doubles(kept) - level) / softening));
    for (std::int64_t i = 0; i < n; i += double_lanes) {
        const DoubleVec pixels = load_doubles(kept + i) - level, value = arcsinh(pixels / softening);
        light.include(pixels);
        values.include(value);
        store(stretched + i, value);
    }
    const double lowest = task.minmax ? values.least() : 0.0, width = task.minmax ? values.greatest() - lowest : 1.0;
    if (task.minmax ? !(width > 0.0) : light.least() == light.greatest()) return;
    for (std::int64_t i = 0; i < n; i += double_lanes) {
        const DoubleVec value = load(stretched + i);
        store_as_floats(kept + i, task.minmax ? (value - lowest) / width : value);
    }
    if (n == n_pixels) {
        std::memcpy(prepared, kept, 4 * n_pixels);
        return;
    }
    for (std::int64_t i = 0, next = 0; i < n_pixels; ++i) {
        prepared[i] = valid[i] ? kept[next] : 0.0f;
        next += valid[i] != 0;
    }
}

}  // namespace SURVEYFLOW_ISA
