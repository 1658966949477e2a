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

struct Complex {
    Vec re, im;
};

ALWAYS_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
ALWAYS_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
ALWAYS_INLINE Complex times_minus_i(Complex a) { return {a.im, -a.re}; }
ALWAYS_INLINE Complex swapped(Complex a) { return {a.im, a.re}; }

}  // namespace SURVEYFLOW_ISA
