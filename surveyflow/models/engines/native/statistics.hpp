// From one source's draws to the numbers of its catalog row, as stats/posterior.py computes them, without keeping the draws.
#pragma once

#include "head.hpp"
#include "kernels.hpp"
#include "ranks.hpp"

namespace SURVEYFLOW_ISA {

constexpr std::uint32_t most_counted_draws = 65535;  // a bin counts in 16 bits

ALWAYS_INLINE DoubleVec doubles_at(const float* draws) { return load_doubles(draws); }
ALWAYS_INLINE DoubleVec doubles_at(const double* draws) { return load(draws); }

// The sum of `term(draws)`, in an order that depends only on their number.
template <class Number, class Term>
ALWAYS_INLINE double sum_of(const Number* draws, int n, Term term) {
    DoubleVec even = {}, odd = {};
    int i = 0;
    for (; i + 2 * double_lanes <= n; i += 2 * double_lanes) {
        even += term(doubles_at(draws + i));
        odd += term(doubles_at(draws + i + double_lanes));
    }
    even += odd;
    double total = 0.0;
    for (int lane = 0; lane < double_lanes; ++lane) total += even[lane];
    for (; i < n; ++i) total += term(DoubleVec{draws[i]})[0];
    return total;
}

// Sum of draws, and of their squared distances from their mean.
struct Moments {
    double sum, squares;
};

template <class Number>
inline Moments moments_of(const Number* draws, int n) {
    const double sum = sum_of(draws, n, [](DoubleVec values) { return values; }), mean = sum / n;
    return {sum, sum_of(draws, n, [mean](DoubleVec values) { return (values - mean) * (values - mean); })};
}

struct Shares {
    double first, second, entropy;
};

inline double log_term(double share) { return share > 0.0 ? share * __builtin_log(share) : 0.0; }

// Sums over the draws: the shares of both outputs in their sum, each 1/2 where both are 0, and the entropy of these two shares.
inline Shares sum_shares(const float* draws, const float* others, int n) {
    Shares sums = {0.0, 0.0, 0.0};
    for (int i = 0; i < n; ++i) {
        const double total = double(draws[i]) + others[i];
        const double first = total > 0.0 ? draws[i] / total : 0.5, second = total > 0.0 ? others[i] / total : 0.5;
        sums.first += first;
        sums.second += second;
        sums.entropy -= log_term(first) + log_term(second);
    }
    return sums;
}

inline int count_wins(const float* draws, const float* others, int n) {
    Mask counts = {};
    int i = 0;
    for (; i + lanes <= n; i += lanes) counts -= load(draws + i) > load(others + i);
    int total = 0;
    for (int lane = 0; lane < lanes; ++lane) total += counts[lane];
    for (; i < n; ++i) total += draws[i] > others[i];
    return total;
}

// Bin b holds draws from `edges[b]` to below `edges[b + 1]`. Bins are equally wide except for rounding; the last edge is above all draws.
inline int bin_of(float draw, const float* edges, int n_bins) {
    const int near = static_cast<int>(draw * static_cast<float>(n_bins)), guess = near < n_bins ? near : n_bins - 1;
    return guess - (draw < edges[guess]) + (draw >= edges[guess + 1]);
}

inline void count_bins(const float* draws, int n, const float* edges, int n_bins, std::uint16_t* counts) {
    for (int i = 0; i < n; ++i) ++counts[bin_of(draws[i], edges, n_bins)];
}

// What the widest of the heads needs.
struct HeadsRoom {
    std::size_t most_outputs = 0, most_bytes = 0;

    template <class Task>
    explicit HeadsRoom(const Task& task) {
        for (int member = 0; member < task.n_members; ++member) {
            const Head head(*task.heads[member]);
            if (std::size_t(head.n_outputs()) > most_outputs) most_outputs = head.n_outputs();
            if (head.scratch_bytes() > most_bytes) most_bytes = head.scratch_bytes();
        }
    }
};

class SourceStatistics {
public:
    static std::size_t scratch_bytes(const StatisticsTask& task) {
        const HeadsRoom room(task);
        return Scratch::rounded(4L * draws_at_once * room.most_outputs) + 2 * Scratch::rounded(4L * task.n_draws) +
               Scratch::rounded(4L * most_deals * task.n_draws) + room.most_bytes;
    }

    SourceStatistics(const StatisticsTask& task, Scratch& scratch) : task_(task), scratch_(scratch) {
        block_ = scratch.take<float>(draws_at_once * HeadsRoom(task).most_outputs);
        for (float*& column : columns_) column = scratch.take<float>(task.n_draws);
        room_ = scratch.take<float>(std::size_t(most_deals) * task.n_draws);
    }

    void find(std::int64_t source) const {
        bool finite = true;
        std::uint32_t first = 0;
        for (int member = 0; member < task_.n_members; ++member) {
            const std::uint32_t share = (task_.n_draws - 1 - member) / task_.n_members + 1;
            finite = draw(source, member, first, share) && finite;
            first += share;
        }
        for (int output = 0; output < 2; ++output) describe(source, output, finite);
        std::uint16_t* const histogram = task_.histogram + source * task_.n_bins;
        for (int bin = 0; bin < task_.n_bins; ++bin) histogram[bin] = 0;
        task_.wins[source] = 0;
        divide(source, finite);
        if (!finite) return;
        task_.wins[source] = count_wins(columns_[0], columns_[1], n_draws());
        count_bins(columns_[0], n_draws(), task_.edges, task_.n_bins, histogram);
    }

private:
    int n_draws() const { return static_cast<int>(task_.n_draws); }

    // A member's draws of the two outputs -> `columns_`, from place `first` on, and their sums; false if any is NaN.
    bool draw(std::int64_t source, int member, std::uint32_t first, std::uint32_t share) const {
        const Head head(*task_.heads[member]);
        const int n_outputs = head.n_outputs();
        bool finite = true;
        const auto keep = [&](std::uint32_t begin, int n, const float* logits) {
            Head::write_probabilities(logits, n * n_outputs, block_);
            for (int output = 0; output < 2; ++output) {
                for (int d = 0; d < n; ++d) {
                    const float draw = block_[d * n_outputs + task_.outputs[output]];
                    columns_[output][first + begin + d] = draw;
                    finite &= draw == draw;
                }
            }
        };
        const float* features = task_.features[member] + source * task_.heads[member]->layers[0].n_inputs;
        const std::size_t used = scratch_.used();
        finite = head.draw(features, task_.source_keys[source], share, task_.seed, scratch_, keep) && finite;
        scratch_.return_to(used);
        for (int output = 0; output < 2; ++output) {
            const double sum = finite ? sum_of(columns_[output] + first, share, [](DoubleVec values) { return values; }) : __builtin_nan("");
            task_.member_sums[(source * task_.n_members + member) * 2 + output] = sum;
        }
        return finite;
    }

    void divide(std::int64_t source, bool finite) const {
        const double nan = __builtin_nan("");
        const Shares sums = finite ? sum_shares(columns_[0], columns_[1], n_draws()) : Shares{nan, nan, nan};
        task_.shares[2 * source] = sums.first;
        task_.shares[2 * source + 1] = sums.second;
        task_.entropies[source] = sums.entropy;
    }

    void describe(std::int64_t source, int output, bool finite) const {
        const std::int64_t place = 2 * source + output;
        float* const ranked = task_.ranked + place * task_.n_ranks;
        if (!finite) {
            task_.squares[place] = __builtin_nan("");
            for (int i = 0; i < task_.n_ranks; ++i) ranked[i] = __builtin_nanf("");
            return;
        }
        const float* draws = columns_[output];
        double sum = 0.0;
        for (int member = 0; member < task_.n_members; ++member) sum += task_.member_sums[(source * task_.n_members + member) * 2 + output];
        const double mean = sum / n_draws();
        task_.squares[place] = sum_of(draws, n_draws(), [mean](DoubleVec values) { return (values - mean) * (values - mean); });
        find_ranked({draws, n_draws(), 0, task_.ranks, task_.n_ranks}, ranked, room_, n_draws());
    }

    const StatisticsTask& task_;
    Scratch& scratch_;
    float* block_;
    float* columns_[2];
    float* room_;
};

}  // namespace SURVEYFLOW_ISA
