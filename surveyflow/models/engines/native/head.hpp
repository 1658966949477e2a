// From features to draws: the same masks and the same sums as models/engines/head.py.
//
// The first kernel is scaled once per source by the source's positive features; a draw then adds the rows of the units that it
// keeps. About half of the features are positive and half of those are kept, so this is a quarter of a matrix product, without
// multiplications.
#pragma once

#include "memory.hpp"
#include "network.hpp"
#include "parallel.hpp"
#include "simd.hpp"

namespace SURVEYFLOW_ISA {

constexpr int draws_at_once = 64;
constexpr int vectors_at_once = 8;  // sums held in registers; widths of hidden layers are padded to whole blocks of 8 x 16

// Philox4x32-10 of Salmon et al. (2011) for consecutive draws; `words[w][d]` is word w of draw d's block.
inline void philox(std::uint64_t source_key, std::uint32_t first_draw, std::uint32_t block, std::uint32_t seed,
                   std::uint32_t model_word, std::uint32_t (*words)[draws_at_once]) {
    for (int d = 0; d < draws_at_once; ++d) {
        std::uint32_t c0 = static_cast<std::uint32_t>(source_key), c1 = static_cast<std::uint32_t>(source_key >> 32);
        std::uint32_t c2 = first_draw + d, c3 = block, k0 = seed, k1 = model_word;
#pragma GCC unroll 10
        for (int round = 0; round < 10; ++round) {
            const std::uint64_t a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
            c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ k0;
            c1 = static_cast<std::uint32_t>(b);
            c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ k1;
            c3 = static_cast<std::uint32_t>(a);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        words[0][d] = c0;
        words[1][d] = c1;
        words[2][d] = c2;
        words[3][d] = c3;
    }
}

// exp(x) / (1 + exp(x)), to two units in the last place of a float32; NaN stays NaN.
inline Vec sigmoid(Vec x) {
    constexpr float log2_e = 1.44269504088896341f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const Vec size = x < 0.0f ? -x : x;  // exp(-|x|) cannot overflow
    const Vec clipped = size > 87.0f ? broadcast(87.0f) : size;
    const Vec rounded = (clipped * log2_e + 12582912.0f) - 12582912.0f;  // to the nearest whole number, by adding 1.5 * 2^23
    const Vec r = rounded * ln2_high + (rounded * ln2_low - clipped);    // -x = -n ln 2 + r
    Vec p = broadcast(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    const Mask exponent = (127 - __builtin_convertvector(rounded, Mask)) << 23;
    const Vec e = p * (Vec)exponent;
    const Vec small = e / (1.0f + e);
    const Vec result = x < 0.0f ? small : 1.0f - small;
    return x != x ? x : result;
}

class Head {
public:
    explicit Head(const HeadSpec& spec) : spec_(spec), n_features_(spec.layers[0].n_inputs) {}

    std::size_t scratch_bytes() const {
        return Scratch::rounded(4 * scaled_floats()) + 2 * Scratch::rounded(4 * widest()) + Scratch::rounded(4 * mask_words()) +
               Scratch::rounded(4 * words_of(n_features_)) + Scratch::rounded(4 * n_logits());
    }

    // All draws of one source, some at a time: `receive(first, how many, logits)`, with logits [draw][output]. Returns false,
    // without draws, if features are not finite.
    template <class Receive>
    bool draw(const float* features, std::uint64_t source_key, std::uint32_t n_draws, std::uint32_t seed, Scratch& scratch,
              Receive receive) const {
        const int n_outputs = last().n_outputs;
        Buffers buffers;
        buffers.scaled = scratch.take<float>(scaled_floats());
        buffers.units = scratch.take<float>(widest());
        buffers.next = scratch.take<float>(widest());
        buffers.masks = scratch.take<std::uint32_t>(mask_words());
        buffers.active = scratch.take<std::uint32_t>(words_of(n_features_));
        buffers.logits = scratch.take<float>(n_logits());
        for (long i = 0; i < n_logits(); ++i) buffers.logits[i] = 0.0f;
        if (!prepare(features, buffers)) return false;
        for (std::uint32_t first = 0; first < n_draws; first += draws_at_once) {
            const int n = n_draws - first < draws_at_once ? static_cast<int>(n_draws - first) : draws_at_once;
            make_masks(source_key, first, seed, buffers.masks);
            for (int d = 0; d < n; ++d) one_draw(buffers.masks + d * mask_stride(), buffers, buffers.logits + d * n_outputs);
            receive(first, n, buffers.logits);
        }
        return true;
    }

    int n_outputs() const { return last().n_outputs; }

    // `n` logits -> `n` probabilities; up to one vector of logits beyond them is also read.
    static void write_probabilities(const float* logits, int n, float* draws) {
        int i = 0;
        for (; i + lanes <= n; i += lanes) store(draws + i, sigmoid(load(logits + i)));
        if (i == n) return;
        float rest[lanes];
        store(rest, sigmoid(load(logits + i)));
        for (int lane = 0; i < n; ++lane, ++i) draws[i] = rest[lane];
    }

private:
    struct Buffers {
        float* scaled;  // [feature][output]: the first kernel, times the feature
        float *units, *next;
        std::uint32_t* masks;   // [draw]: bit u says whether unit u is kept
        std::uint32_t* active;  // bit u says whether feature u is positive
        float* logits;          // [draw][output]
    };

    static int words_of(int n_bits) { return (n_bits + 31) / 32; }
    const DenseSpec& last() const { return spec_.layers[spec_.n_layers - 1]; }
    bool has_hidden() const { return spec_.n_layers > 1; }
    long scaled_floats() const { return has_hidden() ? long(n_features_) * spec_.layers[0].n_outputs : 0; }
    long n_logits() const { return long(draws_at_once) * last().n_outputs; }
    // More words than the units need: complete blocks are written, and masks are read 32 bits at a time from any bit.
    int mask_stride() const {
        const int written = spec_.one_bit ? 4 * spec_.n_blocks : 0, needed = words_of(spec_.n_units);
        return (written > needed ? written : needed) + 2;
    }
    long mask_words() const { return long(draws_at_once) * mask_stride(); }
    long widest() const {
        long most = (last().n_inputs + group_size - 1) / group_size * group_size;
        for (int j = 0; j + 1 < spec_.n_layers; ++j) most = most > spec_.layers[j].n_outputs ? most : spec_.layers[j].n_outputs;
        return most;
    }

    static std::uint32_t bits_from(const std::uint32_t* mask, int bit) {
        const std::uint64_t two_words = mask[bit / 32] | static_cast<std::uint64_t>(mask[bit / 32 + 1]) << 32;
        return static_cast<std::uint32_t>(two_words >> (bit % 32));
    }

    // False if a feature is NaN or positive infinity: then every draw is NaN.
    bool prepare(const float* features, Buffers& buffers) const {
        for (int w = 0; w < words_of(n_features_); ++w) buffers.active[w] = 0;
        for (int u = 0; u < n_features_; ++u) {
            const float feature = features[u];
            if (feature <= 0.0f) continue;
            if (!(feature < __builtin_inff())) return false;
            buffers.active[u / 32] |= 1u << (u % 32);
            if (!has_hidden()) continue;
            const int width = spec_.layers[0].n_outputs;
            const float* row = spec_.layers[0].kernel + long(u) * width;
            for (int o = 0; o < width; o += lanes) store(buffers.scaled + long(u) * width + o, feature * load(row + o));
        }
        if (!has_hidden()) {
            for (long u = 0; u < widest(); ++u) buffers.units[u] = u < n_features_ && features[u] > 0.0f ? features[u] : 0.0f;
        }
        return true;
    }

    void make_masks(std::uint64_t source_key, std::uint32_t first_draw, std::uint32_t seed, std::uint32_t* masks) const {
        const int stride = mask_stride();
        for (long i = 0; i < mask_words(); ++i) masks[i] = spec_.n_blocks ? 0 : ~0u;
        for (int block = 0; block < spec_.n_blocks; ++block) {
            std::uint32_t words[4][draws_at_once];
            philox(source_key, first_draw, block, seed, spec_.model_word, words);
            for (int w = 0; w < 4; ++w) {
                const int place = 4 * block + w;
                for (int d = 0; d < draws_at_once; ++d) {
                    if (spec_.one_bit) masks[d * stride + place] = words[w][d];
                    else if (place < spec_.n_units) masks[d * stride + place / 32] |= (words[w][d] >= spec_.threshold ? 1u : 0u) << (place % 32);
                }
            }
        }
    }

    void one_draw(const std::uint32_t* mask, const Buffers& buffers, float* logits) const {
        int first_unit = 0;
        float *units = buffers.units, *next = buffers.next;
        if (has_hidden()) {
            sum_kept_rows(mask, buffers, units);
            first_unit = n_features_;
            for (int j = 1; j + 1 < spec_.n_layers; ++j) {
                hidden_layer(spec_.layers[j], mask, first_unit, units, next);
                first_unit += spec_.layers[j].n_inputs;
                float* const emptied = units;
                units = next;
                next = emptied;
            }
        }
        last_layer(mask, first_unit, units, logits);
    }

    // The first dense layer: units = ReLU(bias + sum of the kept rows).
    void sum_kept_rows(const std::uint32_t* mask, const Buffers& buffers, float* units) const {
        const int width = spec_.layers[0].n_outputs, n_words = words_of(n_features_);
        for (int column = 0; column < width; column += vectors_at_once * lanes) {
            Vec sum[vectors_at_once];
            UNROLL for (int v = 0; v < vectors_at_once; ++v) sum[v] = load(spec_.layers[0].bias + column + v * lanes);
            for (int w = 0; w < n_words; ++w) {
                const float* rows = buffers.scaled + long(32 * w) * width + column;
                for (std::uint32_t kept = mask[w] & buffers.active[w]; kept; kept &= kept - 1) {
                    const float* row = rows + long(__builtin_ctz(kept)) * width;
                    UNROLL for (int v = 0; v < vectors_at_once; ++v) sum[v] += load(row + v * lanes);
                }
            }
            UNROLL for (int v = 0; v < vectors_at_once; ++v) store(units + column + v * lanes, positive_part(sum[v]));
        }
    }

    // A further hidden layer, of networks with more than two.
    static void hidden_layer(const DenseSpec& layer, const std::uint32_t* mask, int first_unit, const float* units, float* next) {
        for (int column = 0; column < layer.n_outputs; column += lanes) {
            Vec sum = load(layer.bias + column);
            for (int u = 0; u < layer.n_inputs; ++u) {
                if (bits_from(mask, first_unit + u) & 1) sum += units[u] * load(layer.kernel + long(u) * layer.n_outputs + column);
            }
            store(next + column, positive_part(sum));
        }
    }

    void last_layer(const std::uint32_t* mask, int first_unit, const float* units, float* logits) const {
        const DenseSpec& layer = last();
        const int padded = (layer.n_inputs + group_size - 1) / group_size * group_size;
        Mask place;
        for (int lane = 0; lane < lanes; ++lane) place[lane] = 1 << lane;
        for (int o = 0; o < layer.n_outputs; ++o) {
            Vec sum = {};
            for (int u = 0; u < padded; u += lanes) {
                const Mask bits = static_cast<std::int32_t>(bits_from(mask, first_unit + u)) - Mask{};
                const Vec kept = (bits & place) != 0 ? load(units + u) : Vec{};
                sum += kept * load(layer.kernel + long(o) * padded + u);
            }
            float total = layer.bias[o];
            for (int lane = 0; lane < lanes; ++lane) total += sum[lane];
            logits[o] = total;
        }
    }

    const HeadSpec& spec_;
    int n_features_;
};

}  // namespace SURVEYFLOW_ISA
