// The median of an image's positive pixels: see PositiveMedians in sky/tiling.py.
//
// Positive floats have the order of their bits as integers, and all others, but NaN, have bits of at most 0. Pixels are counted in bins between the least and the greatest, and
// only those of the bin with the median are looked at one by one.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>

#include "kernels.hpp"
#include "memory.hpp"

namespace SURVEYFLOW_ISA {

inline float as_float(std::int32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

class MedianFinder {
public:
    static std::size_t scratch_bytes(std::int64_t n_pixels) {
        return Scratch::rounded(4 * n_pixels) + Scratch::rounded(4 * 2 * n_bins);
    }

    MedianFinder(const float* pixels, std::int64_t n_pixels, Scratch& scratch)
        : n_pixels_(n_pixels), bits_(reinterpret_cast<const Bits*>(pixels)), chosen_(scratch.take<std::int32_t>(n_pixels)),
          counts_(scratch.take<std::int32_t>(2 * n_bins)) {}

    float find() {
        find_range();
        if (n_positive_ == 0) return NAN;
        if (least_ == greatest_) return as_float(least_);
        int shift = 0;
        while ((greatest_ - least_) >> shift >= n_bins) ++shift;
        count(shift);
        const std::int32_t upper = n_positive_ / 2;
        std::int32_t before = 0, bin = 0;
        for (std::int32_t n; before + (n = counts_[2 * bin] + counts_[2 * bin + 1]) <= upper; ++bin) before += n;
        const std::int32_t first = least_ + (bin << shift);
        std::int32_t* const end = choose(first, shift);
        std::int32_t* const middle = chosen_ + (upper - before);
        std::nth_element(chosen_, middle, end);
        if (n_positive_ % 2 != 0) return as_float(*middle);
        const std::int32_t other = middle == chosen_ ? greatest_below(first) : *std::max_element(chosen_, middle);
        return float((double(as_float(other)) + double(as_float(*middle))) / 2);
    }

private:
    typedef std::int32_t Bits __attribute__((may_alias));  // of a float

    static constexpr int n_bins = 2048;

    void find_range() {
        std::int32_t n = 0, least = INT_MAX, greatest = 0;
        for (std::int64_t i = 0; i < n_pixels_; ++i) {
            n += bits_[i] > 0;
            const std::int32_t present = bits_[i] > 0 ? bits_[i] : INT_MAX;
            least = present < least ? present : least;
            greatest = bits_[i] > greatest ? bits_[i] : greatest;
        }
        n_positive_ = n, least_ = least, greatest_ = greatest;
    }

    // Neighbouring pixels are often in the same bin. Two counters do not wait for each other.
    void count(int shift) {
        std::memset(counts_, 0, 4 * 2 * n_bins);
        if (n_positive_ == n_pixels_) {
            for (std::int64_t i = 0; i < n_pixels_; ++i) ++counts_[(bits_[i] - least_) >> shift << 1 | (i & 1)];
            return;
        }
        for (std::int64_t i = 0; i < n_pixels_; ++i) {
            if (bits_[i] > 0) ++counts_[(bits_[i] - least_) >> shift << 1 | (i & 1)];
        }
    }

    std::int32_t* choose(std::int32_t first, int shift) {
        constexpr int at_once = 32;
        const std::int32_t last = first + (1 << shift) - 1;
        std::int32_t* end = chosen_;
        for (std::int64_t start = 0; start < n_pixels_; start += at_once) {
            const std::int64_t stop = std::min(start + at_once, n_pixels_);
            int n = 0;
            for (std::int64_t i = start; i < stop; ++i) n += (bits_[i] >= first) & (bits_[i] <= last);
            for (std::int64_t i = start; n > 0; ++i) {
                if (bits_[i] < first || bits_[i] > last) continue;
                *end++ = bits_[i];
                --n;
            }
        }
        return end;
    }

    std::int32_t greatest_below(std::int32_t first) const {
        std::int32_t greatest = 0;
        for (std::int64_t i = 0; i < n_pixels_; ++i) {
            greatest = bits_[i] < first && bits_[i] > greatest ? bits_[i] : greatest;
        }
        return greatest;
    }

    std::int64_t n_pixels_;
    const Bits* bits_;
    std::int32_t *chosen_, *counts_;
    std::int32_t n_positive_ = 0, least_ = 0, greatest_ = 0;
};

}  // namespace SURVEYFLOW_ISA
