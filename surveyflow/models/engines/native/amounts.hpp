// From one source's draws to the statistics of amounts, as stats/posterior.py defines them, without keeping the draws.
//
// In each draw, a uniform number decides whether something is there, and a normal one how much of it:
//   amount = curve(reach * clip(location + scatter * sigma * normal, 0, 1)) if uniform < presence, else 0.
// The numbers are those of stats/philox.py (`predictive_noise`): the block that masks never reach, and those before it.
#pragma once

#include "head.hpp"
#include "kernels.hpp"
#include "ranks.hpp"
#include "statistics.hpp"

namespace SURVEYFLOW_ISA {

constexpr int most_amounts = 4;
constexpr std::uint32_t noise_block = 0xFFFFFFFFu;

inline double on_curve(int curve, double x) { return curve == 0 ? __builtin_expm1(x) : __builtin_sinh(x); }

// The random numbers of some consecutive draws.
class Noise {
public:
    Noise(const AmountsTask& task, int member, std::int64_t source, std::uint32_t first_draw) {
        for (int pair = 0; 2 * pair < task.n_amounts; ++pair) {
            philox(task.source_keys[source], first_draw, noise_block - pair, task.seed, task.heads[member]->model_word, words_[pair]);
        }
    }

    double uniform(int draw) const { return words_[0][2][draw] / two_to_32; }

    // Box & Muller (1958).
    double normal(int draw, int amount) const {
        const std::uint32_t (*const words)[draws_at_once] = words_[amount / 2];
        const double radius = __builtin_sqrt(-2.0 * __builtin_log((words[0][draw] + 1.0) / two_to_32));
        const double angle = words[1][draw] * (2.0 * 3.14159265358979323846 / two_to_32);
        return radius * (amount % 2 ? __builtin_sin(angle) : __builtin_cos(angle));
    }

private:
    static constexpr double two_to_32 = 4294967296.0;
    std::uint32_t words_[(most_amounts + 1) / 2][4][draws_at_once];
};

class SourceAmounts {
public:
    static std::size_t scratch_bytes(const AmountsTask& task) {
        const HeadsRoom room(task);
        return Scratch::rounded(4L * draws_at_once * room.most_outputs) + Scratch::rounded(4L * most_deals * task.n_draws) +
               (task.n_amounts + 1) * Scratch::rounded(4L * task.n_draws) + task.n_amounts * Scratch::rounded(8L * task.n_draws) +
               room.most_bytes;
    }

    SourceAmounts(const AmountsTask& task, Scratch& scratch) : task_(task), scratch_(scratch) {
        block_ = scratch.take<float>(draws_at_once * HeadsRoom(task).most_outputs);
        room_ = scratch.take<float>(std::size_t(most_deals) * task.n_draws);
        rounded_ = scratch.take<float>(task.n_draws);
        for (int amount = 0; amount < task.n_amounts; ++amount) {
            presences_[amount] = scratch.take<float>(task.n_draws);
            amounts_[amount] = scratch.take<double>(task.n_draws);
        }
    }

    void find(std::int64_t source) const {
        bool finite = true;
        std::uint32_t first = 0;
        for (int member = 0; member < task_.n_members; ++member) {
            const std::uint32_t share = (task_.n_draws - 1 - member) / task_.n_members + 1;
            finite = draw(source, member, first, share) && finite;
            first += share;
        }
        for (int amount = 0; amount < task_.n_amounts; ++amount) describe(source * task_.n_amounts + amount, amount, finite);
    }

private:
    // A member's draws -> `presences_` and `amounts_`, from place `first` on; false if any is NaN.
    bool draw(std::int64_t source, int member, std::uint32_t first, std::uint32_t share) const {
        const Head head(*task_.heads[member]);
        const int n_outputs = head.n_outputs();
        bool finite = true;
        const auto keep = [&](std::uint32_t begin, int n, const float* logits) {
            Head::write_probabilities(logits, n * n_outputs, block_);
            for (int i = 0; i < n * n_outputs; ++i) finite &= block_[i] == block_[i];
            const Noise noise(task_, member, source, begin);
            for (int amount = 0; amount < task_.n_amounts; ++amount) {
                convert(task_.amounts[member * task_.n_amounts + amount], amount, n, n_outputs, noise, first + begin);
            }
        };
        const float* features = task_.features[member] + source * task_.heads[member]->layers[0].n_inputs;
        const std::size_t used = scratch_.used();
        finite = head.draw(features, task_.source_keys[source], share, task_.seed, scratch_, keep) && finite;
        scratch_.return_to(used);
        return finite;
    }

    void convert(const AmountSpec& spec, int amount, int n, int n_outputs, const Noise& noise, std::uint32_t place) const {
        for (int d = 0; d < n; ++d) {
            const float* outputs = block_ + d * n_outputs;
            double found = 0.0;
            if (noise.uniform(d) < outputs[spec.presence]) {
                const double location = outputs[spec.location] + outputs[spec.scatter] * spec.sigma * noise.normal(d, amount);
                found = on_curve(spec.curve, spec.reach * (location < 0.0 ? 0.0 : location > 1.0 ? 1.0 : location));
            }
            presences_[amount][place + d] = outputs[spec.presence];
            amounts_[amount][place + d] = found;
        }
    }

    void describe(std::int64_t place, int amount, bool finite) const {
        const int n_draws = static_cast<int>(task_.n_draws);
        const double nan = __builtin_nan("");
        const Moments presence = finite ? moments_of(presences_[amount], n_draws) : Moments{nan, nan};
        const Moments moments = finite ? moments_of(amounts_[amount], n_draws) : Moments{nan, nan};
        task_.presences[2 * place] = presence.sum;
        task_.presences[2 * place + 1] = presence.squares;
        task_.moments[2 * place] = moments.sum;
        task_.moments[2 * place + 1] = moments.squares;
        float* const ranked = task_.ranked + place * task_.n_ranks;
        if (!finite) {
            for (int i = 0; i < task_.n_ranks; ++i) ranked[i] = __builtin_nanf("");
            return;
        }
        for (int d = 0; d < n_draws; ++d) rounded_[d] = static_cast<float>(amounts_[amount][d]);
        find_ranked({rounded_, n_draws, 0, task_.ranks, task_.n_ranks}, ranked, room_, n_draws);
    }

    const AmountsTask& task_;
    Scratch& scratch_;
    float *block_, *room_, *rounded_;
    float* presences_[most_amounts];
    double* amounts_[most_amounts];
};

}  // namespace SURVEYFLOW_ISA
