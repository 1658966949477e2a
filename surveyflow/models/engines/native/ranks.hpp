// Some of a source's draws by their rank, without sorting them all.
//
// The draws are dealt into buckets by the bits of their floats, which increase with the value for probabilities. The buckets that
// hold a requested rank are dealt again, until a bucket holds few enough draws to sort, or draws that are all equal.
#pragma once

#include <cstdint>

#include "simd.hpp"

namespace SURVEYFLOW_ISA {

constexpr int most_ranks = 16;
constexpr int bucket_bits = 11;
constexpr int most_deals = 3;  // of the 30 bits in which probabilities differ, 11 at a time
constexpr int few = 32;        // up to this many draws are sorted instead of dealt

// Increases with the draw, which is not negative.
ALWAYS_INLINE std::int32_t key_of(float draw) { return __builtin_bit_cast(std::int32_t, draw); }

// Draws of neighbouring ranks, and the ranks that are requested among them.
struct Deal {
    const float* draws;
    int n;
    int n_below;  // draws that are less than all of these
    const std::int32_t* ranks;  // ascending; 0 is the least draw's
    int n_ranks;
};

inline void sort_few(float* draws, int n) {
    for (int i = 1; i < n; ++i) {
        const float draw = draws[i];
        int place = i;
        for (; place > 0 && draws[place - 1] > draw; --place) draws[place] = draws[place - 1];
        draws[place] = draw;
    }
}

inline void pick_from_few(const Deal& deal, float* found) {
    float sorted[few];
    for (int i = 0; i < deal.n; ++i) sorted[i] = deal.draws[i];
    sort_few(sorted, deal.n);
    for (int i = 0; i < deal.n_ranks; ++i) found[i] = sorted[deal.ranks[i] - deal.n_below];
}

// The bucket of a draw.
struct Buckets {
    static constexpr int number = 1 << bucket_bits;
    std::int32_t least;
    int shift;

    Buckets(std::int32_t least_key, std::int32_t greatest_key) : least(least_key) {
        const int n_bits = 32 - __builtin_clz(greatest_key - least_key);
        shift = n_bits > bucket_bits ? n_bits - bucket_bits : 0;
    }

    ALWAYS_INLINE int of(float draw) const { return (key_of(draw) - least) >> shift; }
};

// The buckets that hold requested ranks -> `parts`, their draws in `room`; returns their number.
inline int deal_out(const Deal& deal, const Buckets& buckets, Deal* parts, float* room) {
    std::int32_t counts[Buckets::number] = {};
    for (int i = 0; i < deal.n; ++i) ++counts[buckets.of(deal.draws[i])];
    int n_parts = 0, n_below = deal.n_below, n_taken = 0, rank = 0;
    for (std::int32_t& count : counts) {
        const int size = count, first_rank = rank;
        while (rank < deal.n_ranks && deal.ranks[rank] < n_below + size) ++rank;
        count = -1;
        if (rank > first_rank) {
            parts[n_parts++] = {room + n_taken, size, n_below, deal.ranks + first_rank, rank - first_rank};
            count = n_taken;  // from now on: the position of the bucket's next draw
            n_taken += size;
        }
        n_below += size;
    }
    for (int i = 0; i < deal.n; ++i) {
        std::int32_t& place = counts[buckets.of(deal.draws[i])];
        if (place >= 0) room[place++] = deal.draws[i];
    }
    return n_parts;
}

// found[i] = the draw whose rank is `deal.ranks[i]`. `room` holds `most_deals` times `room_size` draws; all fit into one.
inline void find_ranked(const Deal& deal, float* found, float* room, long room_size) {
    std::int32_t least = key_of(deal.draws[0]), greatest = least;
    for (int i = 1; i < deal.n; ++i) {
        const std::int32_t key = key_of(deal.draws[i]);
        least = key < least ? key : least;
        greatest = key > greatest ? key : greatest;
    }
    if (least == greatest) {
        for (int i = 0; i < deal.n_ranks; ++i) found[i] = deal.draws[0];
    } else if (deal.n <= few) {
        pick_from_few(deal, found);
    } else {
        Deal parts[most_ranks];
        const int n_parts = deal_out(deal, Buckets(least, greatest), parts, room);
        for (int p = 0; p < n_parts; ++p) {
            find_ranked(parts[p], found + (parts[p].ranks - deal.ranks), room + room_size, room_size);
        }
    }
}

}  // namespace SURVEYFLOW_ISA
