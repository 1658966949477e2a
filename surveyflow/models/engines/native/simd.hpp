// Vectors of floats, one channel a lane, written with the compiler's own vector types: the same source serves every
// instruction set. A translation unit chooses its set by SURVEYFLOW_ISA (a namespace) and SURVEYFLOW_LANES.
#pragma once

#include <cstdint>

namespace SURVEYFLOW_ISA {

constexpr int lanes = SURVEYFLOW_LANES;

typedef float Vec __attribute__((vector_size(4 * lanes)));
typedef std::int32_t Mask __attribute__((vector_size(4 * lanes)));
typedef float UnalignedVec __attribute__((vector_size(4 * lanes), aligned(4), may_alias));

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

ALWAYS_INLINE Vec load(const float* from) { return *reinterpret_cast<const UnalignedVec*>(from); }
ALWAYS_INLINE void store(float* to, Vec values) { *reinterpret_cast<UnalignedVec*>(to) = values; }
ALWAYS_INLINE Vec broadcast(float value) { return value - Vec{}; }

// The greater of each pair; `a` where either is NaN, so that a NaN in `a` is kept.
ALWAYS_INLINE Vec greater(Vec a, Vec b) { return b > a ? b : a; }

ALWAYS_INLINE Vec positive_part(Vec values) { return greater(values, Vec{}); }

// Doubles: half as many lanes in a vector of the same width.
constexpr int double_lanes = lanes / 2;
typedef double DoubleVec __attribute__((vector_size(4 * lanes)));
typedef double UnalignedDoubleVec __attribute__((vector_size(4 * lanes), aligned(8), may_alias));
typedef float HalfVec __attribute__((vector_size(2 * lanes)));
typedef float UnalignedHalfVec __attribute__((vector_size(2 * lanes), aligned(4), may_alias));

ALWAYS_INLINE DoubleVec load_doubles(const float* from) {
    return __builtin_convertvector(static_cast<HalfVec>(*reinterpret_cast<const UnalignedHalfVec*>(from)), DoubleVec);
}
ALWAYS_INLINE DoubleVec load(const double* from) { return *reinterpret_cast<const UnalignedDoubleVec*>(from); }
ALWAYS_INLINE void store(double* to, DoubleVec values) { *reinterpret_cast<UnalignedDoubleVec*>(to) = values; }
ALWAYS_INLINE void store_as_floats(float* to, DoubleVec values) {
    *reinterpret_cast<UnalignedHalfVec*>(to) = __builtin_convertvector(values, HalfVec);
}

struct Complex {
    Vec re, im;
};

ALWAYS_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
ALWAYS_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
ALWAYS_INLINE Complex times_minus_i(Complex a) { return {a.im, -a.re}; }
ALWAYS_INLINE Complex swapped(Complex a) { return {a.im, a.re}; }

}  // namespace SURVEYFLOW_ISA
