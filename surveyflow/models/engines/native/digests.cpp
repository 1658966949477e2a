// The rounds of one stream wait for each other: the processor could begin another one meanwhile. With two streams, it does.
#include "digests.hpp"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

namespace {

#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))

using Words = __m128i;

alignas(16) constexpr std::uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// The eight words of a state, in the order of the instructions.
struct State {
    Words abef;
    Words cdgh;
};

WITH_SHA inline State loaded(const std::uint32_t* state) {
    const Words badc = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const Words*>(state)), 0xB1);
    const Words hgfe = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const Words*>(state + 4)), 0x1B);
    return {_mm_alignr_epi8(badc, hgfe, 8), _mm_blend_epi16(hgfe, badc, 0xF0)};
}

WITH_SHA inline void store(const State& from, std::uint32_t* state) {
    const Words feba = _mm_shuffle_epi32(from.abef, 0x1B), dchg = _mm_shuffle_epi32(from.cdgh, 0xB1);
    _mm_storeu_si128(reinterpret_cast<Words*>(state), _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128(reinterpret_cast<Words*>(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

// Four rounds; the four words of the schedule that they used are replaced by those of sixteen rounds later.
WITH_SHA inline void four_rounds(int fourth, State& state, Words* words) {
    Words& first = words[fourth & 3];
    const Words &second = words[(fourth + 1) & 3], &third = words[(fourth + 2) & 3], &last = words[(fourth + 3) & 3];
    const Words sums = _mm_add_epi32(first, _mm_load_si128(reinterpret_cast<const Words*>(constants) + fourth));
    state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, sums);
    state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, _mm_shuffle_epi32(sums, 0x0E));
    if (fourth < 12) {
        const Words mixed = _mm_add_epi32(_mm_sha256msg1_epu32(first, second), _mm_alignr_epi8(last, third, 4));
        first = _mm_sha256msg2_epu32(mixed, last);
    }
}

// The words of a block are big-endian. Those of pixels as FITS files have them are as they lie in memory: the stream that is
// digested holds the same pixels little-endian.
template <bool as_in_files>
WITH_SHA inline void load_block(const unsigned char* block, Words* words) {
    const Words big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    for (int i = 0; i < 4; ++i) {
        const Words loaded = _mm_loadu_si128(reinterpret_cast<const Words*>(block) + i);
        words[i] = as_in_files ? loaded : _mm_shuffle_epi8(loaded, big_endian);
    }
}

WITH_SHA inline State sum(const State& one, const State& other) {
    return {_mm_add_epi32(one.abef, other.abef), _mm_add_epi32(one.cdgh, other.cdgh)};
}

template <bool as_in_files>
WITH_SHA void carry_on(const DigestsTask& task) {
    State one = loaded(task.states), other = loaded(task.states + 8);
    for (std::int64_t i = 0; i < task.n_blocks; ++i) {
        const State one_before = one, other_before = other;
        Words ones[4], others[4];
        load_block<as_in_files>(task.streams[0] + 64 * i, ones);
        load_block<as_in_files>(task.streams[1] + 64 * i, others);
#pragma GCC unroll 16
        for (int fourth = 0; fourth < 16; ++fourth) {
            four_rounds(fourth, one, ones);
            four_rounds(fourth, other, others);
        }
        one = sum(one, one_before);
        other = sum(other, other_before);
    }
    store(one, task.states);
    store(other, task.states + 8);
}

}  // namespace

bool can_digest() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool has_sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1);
    return has_sha && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("ssse3");
}

void digest(const DigestsTask& task) { carry_on<false>(task); }
void digest_as_in_files(const DigestsTask& task) { carry_on<true>(task); }

#else

bool can_digest() { return false; }
void digest(const DigestsTask&) {}
void digest_as_in_files(const DigestsTask&) {}

#endif
