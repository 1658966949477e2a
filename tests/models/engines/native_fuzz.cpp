// Random networks through every instruction set, in buffers of exactly the size that they need, for the sanitizers to watch.
// Usage: native_fuzz SEED ROUNDS. Also fails where the answer depends on batch, threads or the number of draws, or where draws
// are not counted as they are one by one, or where features differ from convolutions done directly, in double precision.
#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <vector>

#include <unistd.h>

#define SURVEYFLOW_ISA fuzz
#define SURVEYFLOW_LANES 4
#include "amounts.hpp"
#include "digests.hpp"
#include "kernels.hpp"
#include "medians.hpp"
#include "rows.hpp"
#include "stamps.hpp"
#include "statistics.hpp"
#include "stretch.hpp"

extern "C" int surveyflow_usable(int instruction_set);
extern "C" int surveyflow_features(int instruction_set, const FeaturesTask* task);
extern "C" int surveyflow_draw(int instruction_set, const DrawTask* task);
extern "C" int surveyflow_statistics(int instruction_set, const StatisticsTask* task);
extern "C" int surveyflow_amounts(int instruction_set, const AmountsTask* task);
extern "C" int surveyflow_stretch(int instruction_set, const StretchTask* task);
extern "C" int surveyflow_medians(int instruction_set, const MediansTask* task);
extern "C" int surveyflow_stamps(const StampsTask* task);
extern "C" int surveyflow_digest(const DigestsTask* task);
extern "C" int surveyflow_rows(RowsTask* task);

namespace {

std::mt19937_64 generator;

int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }
int padded(int count, int block) { return (count + block - 1) / block * block; }

using Array = std::unique_ptr<float[]>;
std::vector<Array> arrays;

// An array of its own, so that a step beyond its end is seen.
const float* numbers(std::size_t count) {
    arrays.emplace_back(new float[count]);
    std::normal_distribution<float> normal(0.0f, 0.1f);
    for (std::size_t i = 0; i < count; ++i) arrays.back()[i] = normal(generator);
    return arrays.back().get();
}

int smooth_even(int least) {
    for (int points = padded(least < 4 ? 4 : least, 2);; points += 2) {
        int rest = points;
        for (int prime : {2, 3, 5}) {
            while (rest % prime == 0) rest /= prime;
        }
        if (rest == 1) return points;
    }
}

struct Network {
    std::vector<ConvolutionSpec> convolutions;
    std::vector<DenseSpec> dense;
    TrunkSpec trunk;
    HeadSpec head;
};

ConvolutionSpec convolution(bool is_first, int side, int kernel_size, int n_inputs, int n_outputs, bool pooled) {
    ConvolutionSpec spec = {};
    spec.kernel_size = kernel_size;
    spec.input_size = side;
    spec.n_inputs = is_first ? n_inputs : padded(n_inputs, group_size);
    spec.n_outputs = padded(n_outputs, group_size);
    spec.pooled = pooled;
    const int out = output_size(spec);
    spec.points = is_first ? smooth_even(side) : smooth_even(between(kernel_size + 1, side + kernel_size + 2));
    const int widest = spec.points - kernel_size + 1;
    spec.tile_step = is_first || out <= widest ? out : widest - widest % 2;
    spec.n_tiles = (out + spec.tile_step - 1) / spec.tile_step;
    const std::size_t frequencies = spec.points / 2 + 1;
    const std::size_t rows = std::size_t(is_first ? kernel_size : spec.points) * spec.n_inputs;
    spec.spectrum = numbers(2 * frequencies * rows * spec.n_outputs);
    spec.bias = numbers(spec.n_outputs);
    spec.scale = numbers(spec.n_outputs);
    spec.shift = numbers(spec.n_outputs);
    return spec;
}

std::unique_ptr<Network> random_network() {
    auto network = std::make_unique<Network>();
    const int n_blocks = between(1, 3);
    std::vector<int> kernels;
    int side = 1;
    for (int block = 0; block < n_blocks; ++block) kernels.push_back(2 * between(0, 2) + 1);
    for (int block = n_blocks - 1; block >= 0; --block) side = 2 * side + 2 * (kernels[block] - 1);
    side += between(0, 12);
    int channels = between(1, 3);
    for (int block = 0; block < n_blocks; ++block) {
        const int width = between(1, 36);
        for (int second = 0; second < 2; ++second) {
            const bool pooled = second && block + 1 < n_blocks;
            network->convolutions.push_back(convolution(network->convolutions.empty(), side, kernels[block], channels, width, pooled));
            side = map_size_after(network->convolutions.back());
            channels = width;
        }
    }
    const int n_features = between(1, 40), n_hidden = between(0, 2), n_outputs = between(1, 4);
    network->trunk = {static_cast<int>(network->convolutions.size()), padded(n_features, 16), n_features,
                      network->convolutions.data(),
                      numbers(std::size_t(padded(channels, 16)) * padded(n_features, 16)), numbers(padded(n_features, 16))};
    int n_units = n_features, width = n_features;
    for (int j = 0; j < n_hidden; ++j) {
        const int next = between(1, 150), block = padded(next, 128);
        network->dense.push_back({width, block, numbers(std::size_t(width) * block), numbers(block)});
        n_units += next;
        width = next;
    }
    network->dense.push_back({width, n_outputs, numbers(std::size_t(n_outputs) * padded(width, 16)), numbers(n_outputs)});
    const int one_bit = between(0, 1), drops = between(0, 3) > 0;
    const int bits = one_bit ? 128 : 4;
    network->head = {static_cast<int>(network->dense.size()), n_units, drops ? (n_units + bits - 1) / bits : 0, one_bit,
                     0x40000000u, 0x01234567u, network->dense.data()};
    return network;
}

void require(bool fact, const char* what) {
    if (fact) return;
    std::fprintf(stderr, "%s\n", what);
    std::exit(1);
}

// Value of [ky][kx][input][output], all channels padded.
double kernel_value(const float* kernel, const ConvolutionSpec& spec, int ky, int kx, int i, int o) {
    return kernel[((ky * spec.kernel_size + kx) * std::max(spec.n_inputs, 1) + i) * spec.n_outputs + o];
}

// One frequency of a kernel, as models/spectra.py makes it; along rows only for the first convolution, at row `y`.
std::complex<double> frequency(const float* kernel, const ConvolutionSpec& spec, int fx, int fy_or_row, int i, int o) {
    const bool first = spec.n_inputs < group_size;
    const double step = 2 * std::acos(-1.0) / spec.points;
    std::complex<double> sum = 0;
    for (int y = 0; y < spec.kernel_size; ++y) {
        if (first && y != fy_or_row) continue;
        for (int x = 0; x < spec.kernel_size; ++x) {
            const double angle = step * (fx * x + (first ? 0 : fy_or_row * y));
            sum += std::polar(kernel_value(kernel, spec, y, x, i, o), angle);
        }
    }
    return sum / (2.0 * spec.points * (first ? 1 : spec.points));
}

const float* spectrum_of(const float* kernel, const ConvolutionSpec& spec) {
    const bool first = spec.n_inputs < group_size;
    const int n_rows = first ? 1 : spec.points, n_inputs = first ? spec.kernel_size : spec.n_inputs;
    const int groups = spec.n_outputs / group_size, frequencies = spec.points / 2 + 1;
    arrays.emplace_back(new float[std::size_t(frequencies) * n_rows * groups * n_inputs * 2 * group_size]);
    float* to = arrays.back().get();
    for (int fx = 0; fx < frequencies; ++fx) {
        for (int fy = 0; fy < n_rows; ++fy) {
            for (int group = 0; group < groups; ++group) {
                for (int i = 0; i < n_inputs; ++i, to += 2 * group_size) {
                    for (int lane = 0; lane < group_size; ++lane) {
                        const int o = group * group_size + lane;
                        const std::complex<double> value = frequency(kernel, spec, fx, first ? i : fy, first ? 0 : i, o);
                        to[lane] = static_cast<float>(value.real());
                        to[lane + group_size] = static_cast<float>(value.imag());
                    }
                }
            }
        }
    }
    return arrays.back().get();
}

using Map = std::vector<double>;  // [y][x][channel]

Map convolved(const Map& map, const float* kernel, const ConvolutionSpec& spec) {
    const int side = spec.input_size, out = output_size(spec), n_inputs = spec.n_inputs;
    Map result;
    for (int y = 0; y < out; ++y) {
        for (int x = 0; x < out; ++x) {
            for (int o = 0; o < spec.n_outputs; ++o) {
                double sum = spec.bias[o];
                for (int v = 0; v < spec.kernel_size; ++v) {
                    for (int u = 0; u < spec.kernel_size; ++u) {
                        const double* pixel = &map[((y + v) * side + x + u) * n_inputs];
                        for (int i = 0; i < n_inputs; ++i) sum += pixel[i] * kernel_value(kernel, spec, v, u, i, o);
                    }
                }
                result.push_back(std::max(sum, 0.0) * spec.scale[o] + spec.shift[o]);
            }
        }
    }
    return result;
}

Map pooled(const Map& map, int side, int channels) {
    Map result;
    for (int y = 0; y + 1 < side; y += 2) {
        for (int x = 0; x + 1 < side; x += 2) {
            for (int c = 0; c < channels; ++c) {
                const auto at = [&](int v, int u) { return map[((y + v) * side + x + u) * channels + c]; };
                result.push_back(std::max(std::max(at(0, 0), at(0, 1)), std::max(at(1, 0), at(1, 1))));
            }
        }
    }
    return result;
}

// A network of 16 channels and small maps, whose spectra are those of kernels.
void check_features() {
    const int kernel_size = 3, n_features = 24, n_layers = 4;
    int side = 14 + between(0, 8);
    std::vector<ConvolutionSpec> specs;
    std::vector<const float*> kernels;
    const int image_side = side;
    for (int layer = 0; layer < n_layers; ++layer) {
        specs.push_back(convolution(layer == 0, side, kernel_size, layer ? group_size : 1, group_size, layer == 1));
        kernels.push_back(numbers(kernel_size * kernel_size * (layer ? group_size : 1) * group_size));
        specs.back().spectrum = spectrum_of(kernels.back(), specs.back());
        side = map_size_after(specs.back());
    }
    const float* dense = numbers(group_size * 2 * group_size);
    const TrunkSpec trunk = {n_layers, 2 * group_size, n_features, specs.data(), dense, numbers(2 * group_size)};
    const float* image = numbers(image_side * image_side);
    Map map(image, image + image_side * image_side);
    for (int layer = 0; layer < n_layers; ++layer) {
        map = convolved(map, kernels[layer], specs[layer]);
        if (specs[layer].pooled) map = pooled(map, output_size(specs[layer]), group_size);
    }
    std::vector<double> expected(n_features);
    double greatest = 0;
    for (int u = 0; u < n_features; ++u) {
        expected[u] = trunk.dense_bias[u];
        for (std::size_t j = 0; j < map.size(); ++j) expected[u] += map[j] / (side * side) * dense[j % group_size * 2 * group_size + u];
        greatest = std::max(greatest, std::abs(expected[u]));
    }
    for (int instruction_set = 0; instruction_set < 3; ++instruction_set) {
        if (!surveyflow_usable(instruction_set)) continue;
        std::vector<float> features(n_features);
        const FeaturesTask task = {&trunk, image, 1, features.data(), 1};
        require(surveyflow_features(instruction_set, &task) == done, "features failed");
        for (int u = 0; u < n_features; ++u) {
            require(std::abs(features[u] - expected[u]) <= 2e-6 * greatest, "features differ from direct convolution");
        }
    }
}

constexpr int n_bins = 50;

std::vector<float> bin_edges() {
    std::vector<float> edges;
    for (int b = 0; b < n_bins; ++b) edges.push_back(static_cast<float>(b * 0.02));
    edges.push_back(INFINITY);
    return edges;
}

// Ascending ranks, the first and the last among them.
std::vector<std::int32_t> some_ranks(int n) {
    std::vector<std::int32_t> ranks = {0, n - 1};
    for (int i = between(0, fuzz::most_ranks - 2); i > 0; --i) ranks.push_back(between(0, n - 1));
    std::sort(ranks.begin(), ranks.end());
    return ranks;
}

// Draws that are spread as sigmoids are, or crowded, or few values over and over.
std::vector<float> random_draws(int n) {
    const int kind = between(0, 3);
    const float spread = std::pow(10.0f, between(-8, 2)), centre = between(-90, 90);
    std::normal_distribution<float> normal(kind == 0 ? centre : 0.0f, spread);
    std::vector<float> draws;
    for (int i = 0; i < n; ++i) {
        const float draw = 1.0f / (1.0f + std::exp(-normal(generator)));
        draws.push_back(kind == 1 ? between(0, n_bins) * 0.02f : kind == 2 ? draw * 1e-30f : draw);
    }
    if (kind == 3) draws[between(0, n - 1)] = 0.0f;
    for (float& draw : draws) draw = draw > 1.0f ? 1.0f : draw;
    return draws;
}

void check_counting() {
    const int n = between(0, 1) ? between(1, 5000) : between(1, 40);
    std::vector<float> draws = random_draws(n), room(fuzz::most_deals * n);
    const std::vector<std::int32_t> ranks = some_ranks(n);
    std::vector<float> found(ranks.size());
    fuzz::find_ranked({draws.data(), n, 0, ranks.data(), static_cast<int>(ranks.size())}, found.data(), room.data(), n);
    const std::vector<float> edges = bin_edges();
    std::uint16_t counts[n_bins] = {};
    fuzz::count_bins(draws.data(), n, edges.data(), n_bins, counts);

    std::sort(draws.begin(), draws.end());
    for (std::size_t i = 0; i < ranks.size(); ++i) require(found[i] == draws[ranks[i]], "a draw has another rank");
    for (int b = 0; b < n_bins; ++b) {
        const auto first = std::lower_bound(draws.begin(), draws.end(), edges[b]);
        require(std::lower_bound(first, draws.end(), edges[b + 1]) - first == counts[b], "a bin holds another number of draws");
    }
}

// Shares of two draws in their sum, and the entropies of these, one after the other.
void check_shares(const StatisticsTask& task, const DrawTask& drawn, int n_outputs) {
    for (int source = 0; source < task.n_sources; ++source) {
        double first = 0, second = 0, entropy = 0;
        for (std::uint32_t d = 0; d < task.n_draws; ++d) {
            const float* outputs = drawn.draws + (source * task.n_draws + d) * n_outputs;
            const double one = outputs[task.outputs[0]], other = outputs[task.outputs[1]];
            first += one / (one + other);
            second += other / (one + other);
            for (double share : {one / (one + other), other / (one + other)}) entropy -= share ? share * std::log(share) : 0;
        }
        const double found[3] = {task.shares[2 * source], task.shares[2 * source + 1], task.entropies[source]};
        const double expected[3] = {first, second, entropy};
        for (int i = 0; i < 3; ++i) {
            require(entropy == entropy ? std::abs(found[i] - expected[i]) <= 1e-12 * task.n_draws : found[i] != found[i], "a share differs");
        }
    }
}

// Heads that make draws in turn, each with features of its own.
struct Jury {
    std::vector<const HeadSpec*> heads;
    std::vector<const float*> features;
};

// The statistics of a jury equal those of its draws, `drawn`, and do not depend on the threads.
void check_statistics(int instruction_set, const Network& network, const Jury& jury, const DrawTask& drawn) {
    const int n_outputs = network.dense.back().n_outputs, n = drawn.n_sources, n_draws = drawn.n_draws;
    const int outputs[2] = {between(0, n_outputs - 1), between(0, n_outputs - 1)};
    const std::vector<std::int32_t> ranks = some_ranks(n_draws);
    const std::vector<float> edges = bin_edges();
    const int n_ranks = ranks.size();
    std::unique_ptr<float[]> ranked(new float[2 * n * n_ranks]);
    std::unique_ptr<double[]> sums(new double[2 * n * jury.heads.size()]), squares(new double[2 * n]), shares(new double[2 * n]), entropies(new double[n]);
    std::unique_ptr<std::int32_t[]> wins(new std::int32_t[n]);
    std::unique_ptr<std::uint16_t[]> histogram(new std::uint16_t[n * n_bins]);
    const int n_members = jury.heads.size();
    const StatisticsTask task = {n_members, jury.heads.data(), jury.features.data(), drawn.source_keys, n, drawn.n_draws, drawn.seed,
                                 {outputs[0], outputs[1]}, n_ranks, ranks.data(), n_bins, edges.data(), ranked.get(), sums.get(),
                                 squares.get(), wins.get(), shares.get(), entropies.get(), histogram.get(), between(1, 4)};
    require(surveyflow_statistics(instruction_set, &task) == done, "statistics failed");
    for (int place = 0; place < 2 * n; ++place) {
        std::vector<float> own;
        for (int d = 0; d < n_draws; ++d) own.push_back(drawn.draws[(place / 2 * n_draws + d) * n_outputs + outputs[place % 2]]);
        bool finite = true;
        for (int member = 0; member < n_members; ++member) {
            double sum = 0;
            for (int d = member; d < n_draws; d += n_members) sum += own[d];
            const double found = sums[(place / 2 * n_members + member) * 2 + place % 2];
            require(sum == sum ? std::abs(sum - found) <= 1e-12 * sum : found != found, "a sum differs");
            finite = finite && sum == sum;
        }
        if (!finite) continue;
        std::sort(own.begin(), own.end());
        for (int i = 0; i < n_ranks; ++i) require(ranked[place * n_ranks + i] == own[ranks[i]], "a draw has another rank");
    }
    check_shares(task, drawn, n_outputs);
}

// One amount of a draw of a member, by its definition; the random numbers are those of the library.
double amount_of(const AmountsTask& task, int member, int amount, int source, int draw, const float* outputs) {
    const fuzz::Noise noise(task, member, source, draw);
    const AmountSpec& spec = task.amounts[member * task.n_amounts + amount];
    if (!(noise.uniform(0) < outputs[spec.presence])) return 0;
    const double location = outputs[spec.location] + outputs[spec.scatter] * spec.sigma * noise.normal(0, amount);
    const double reached = spec.reach * std::min(std::max(location, 0.0), 1.0);
    return spec.curve ? std::sinh(reached) : std::expm1(reached);
}

// The statistics of a jury's amounts equal those of its draws, `drawn`: draw i is that of member i % n_members.
void check_amounts(int instruction_set, const Network& network, const Jury& jury, const DrawTask& drawn) {
    const int n_outputs = network.dense.back().n_outputs, n = drawn.n_sources, n_draws = drawn.n_draws, n_members = jury.heads.size();
    const int n_amounts = between(1, fuzz::most_amounts);
    const auto output = [n_outputs] { return between(0, n_outputs - 1); };
    std::vector<AmountSpec> specs;
    for (int i = 0; i < n_members * n_amounts; ++i) specs.push_back({0.1 * between(0, 9), 0.5 * between(1, 12), output(), output(), output(), between(0, 1)});
    const std::vector<std::int32_t> ranks = some_ranks(n_draws);
    const int n_ranks = ranks.size();
    std::unique_ptr<double[]> presences(new double[2 * n * n_amounts]), moments(new double[2 * n * n_amounts]);
    std::unique_ptr<float[]> ranked(new float[n * n_amounts * n_ranks]);
    const AmountsTask task = {n_members, jury.heads.data(), jury.features.data(), drawn.source_keys, n, drawn.n_draws, drawn.seed, n_amounts,
                              specs.data(), n_ranks, ranks.data(), presences.get(), moments.get(), ranked.get(), between(1, 4)};
    require(surveyflow_amounts(instruction_set, &task) == done, "amounts failed");
    for (int place = 0; place < n * n_amounts; ++place) {
        const int source = place / n_amounts, amount = place % n_amounts;
        std::vector<double> own;
        double presence = 0, sum = 0, squares = 0;
        bool finite = true;
        for (int d = 0; d < n_draws; ++d) {
            const float* outputs = drawn.draws + (source * n_draws + d) * n_outputs;
            for (int o = 0; o < n_outputs; ++o) finite = finite && outputs[o] == outputs[o];
            own.push_back(amount_of(task, d % n_members, amount, source, d / n_members, outputs));
            presence += outputs[specs[d % n_members * n_amounts + amount].presence];
            sum += own.back();
        }
        if (!finite) {
            require(moments[2 * place] != moments[2 * place] && ranked[place * n_ranks] != ranked[place * n_ranks], "a NaN was lost");
            continue;
        }
        for (double one : own) squares += (one - sum / n_draws) * (one - sum / n_draws);
        std::sort(own.begin(), own.end());
        const double tolerance = 1e-12 * n_draws * (1 + own.back() * own.back());
        require(std::abs(presences[2 * place] - presence) <= 1e-12 * n_draws, "a presence differs");
        require(std::abs(moments[2 * place] - sum) <= tolerance, "an amount's sum differs");
        require(std::abs(moments[2 * place + 1] - squares) <= tolerance, "an amount's squares differ");
        for (int i = 0; i < n_ranks; ++i) require(std::abs(ranked[place * n_ranks + i] - own[ranks[i]]) <= 1e-6 * own[ranks[i]], "an amount has another rank");
    }
}

// Cutouts of any number of pixels, some of them invalid, against the functions of the C library.
void check_stretch(int instruction_set) {
    const int n = between(1, 4), n_pixels = between(1, 200), minmax = between(0, 1);
    std::unique_ptr<float[]> pixels(new float[n * n_pixels]), prepared(new float[n * n_pixels]);
    std::unique_ptr<std::uint8_t[]> valid(new std::uint8_t[n * n_pixels]);
    std::vector<double> levels, softenings;
    const float scale = std::pow(10.0f, between(-30, 30));
    std::memcpy(pixels.get(), numbers(n * n_pixels), sizeof(float) * n * n_pixels);
    for (int i = 0; i < n * n_pixels; ++i) {
        pixels[i] *= scale;
        valid[i] = between(0, 9) > 0;
    }
    for (int i = 0; i < n; ++i) {
        levels.push_back(0.1 * scale * between(-1, 1));
        softenings.push_back(between(0, 9) ? scale * std::pow(10.0, between(-3, 3)) : __builtin_nan(""));
    }
    const StretchTask task = {pixels.get(), valid.get(), n, n_pixels, levels.data(), softenings.data(), minmax, prepared.get(), between(1, 3)};
    require(surveyflow_stretch(instruction_set, &task) == done, "stretch failed");
    for (int c = 0; c < n; ++c) {
        std::vector<double> values;
        for (int i = c * n_pixels; i < (c + 1) * n_pixels; ++i) {
            if (valid[i]) values.push_back(std::asinh((pixels[i] - levels[c]) / softenings[c]));
        }
        const double lowest = values.empty() ? 0 : *std::min_element(values.begin(), values.end());
        const double highest = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
        const bool flat = !(highest > lowest);
        for (int i = c * n_pixels, next = 0; i < (c + 1) * n_pixels; ++i) {
            const double value = !valid[i] || flat ? 0 : minmax ? (values[next] - lowest) / (highest - lowest) : values[next];
            next += valid[i] != 0;
            require(std::abs(prepared[i] - value) <= 1e-7 * std::abs(value), "a prepared pixel differs");
        }
    }
}

// Members of other widths and depths beside the network's head; draw i of the jury is that of member i % n_members.
void check_jury(int instruction_set, const Network& network, const DrawTask& alone) {
    const int n = alone.n_sources, n_draws = alone.n_draws, n_outputs = network.dense.back().n_outputs;
    const int n_members = between(2, 4);
    if (n_draws < n_members) return;
    std::vector<DenseSpec> dense(n_members);
    std::vector<HeadSpec> specs(n_members, network.head);
    Jury jury;
    std::vector<float> draws(std::size_t(n) * n_draws * n_outputs);
    for (int member = 0; member < n_members; ++member) {
        jury.features.push_back(alone.features);
        specs[member].model_word += member;
        if (member % 2) {
            const int width = between(1, 30);
            dense[member] = {width, n_outputs, numbers(std::size_t(n_outputs) * padded(width, 16)), numbers(n_outputs)};
            specs[member] = {1, width, (width + 3) / 4, 0, 0x40000000u, std::uint32_t(member), &dense[member]};
            jury.features.back() = numbers(std::size_t(n) * width);
        }
        jury.heads.push_back(&specs[member]);
        const int share = (n_draws - 1 - member) / n_members + 1;
        std::unique_ptr<float[]> own(new float[std::size_t(n) * share * n_outputs]);
        const DrawTask task = {jury.heads.back(), jury.features.back(), alone.source_keys, n, std::uint32_t(share), alone.seed, own.get(), 1};
        require(surveyflow_draw(instruction_set, &task) == done, "draw failed");
        for (int row = 0; row < n * share; ++row) {
            float* const to = &draws[(std::size_t(row / share) * n_draws + row % share * n_members + member) * n_outputs];
            std::memcpy(to, own.get() + std::size_t(row) * n_outputs, sizeof(float) * n_outputs);
        }
    }
    DrawTask together = alone;
    together.draws = draws.data();
    check_statistics(instruction_set, network, jury, together);
    check_amounts(instruction_set, network, jury, together);
}

// No thread at all computes nothing, and says so.
void check_threads(int instruction_set, const FeaturesTask& features, const DrawTask& draw) {
    FeaturesTask without_threads = features;
    DrawTask neither = draw;
    without_threads.n_threads = -between(0, 3);
    neither.n_threads = without_threads.n_threads;
    require(surveyflow_features(instruction_set, &without_threads) == bad_specification, "features without threads");
    require(surveyflow_draw(instruction_set, &neither) == bad_specification, "draws without threads");
}

void check(int instruction_set, const Network& network) {
    const ConvolutionSpec& first = network.convolutions[0];
    const int n = between(1, 5), size = first.input_size * first.n_inputs * first.input_size, n_features = network.trunk.n_real_features;
    const int n_draws = between(1, 150), n_outputs = network.dense.back().n_outputs, n_threads = between(1, 4);
    std::unique_ptr<float[]> cutouts(new float[std::size_t(n) * size]);
    std::memcpy(cutouts.get(), numbers(std::size_t(n) * size), sizeof(float) * n * size);
    const int spoiled = between(0, 2) == 0 ? between(0, n - 1) : -1;
    if (spoiled >= 0) cutouts[spoiled * size + between(0, size - 1)] = __builtin_nanf("");
    std::unique_ptr<float[]> features(new float[n * n_features]), draws(new float[std::size_t(n) * n_draws * n_outputs]);
    std::unique_ptr<std::uint64_t[]> keys(new std::uint64_t[n]);
    for (int i = 0; i < n; ++i) keys[i] = generator();
    const FeaturesTask all = {&network.trunk, cutouts.get(), n, features.get(), n_threads};
    require(surveyflow_features(instruction_set, &all) == done, "features failed");
    const DrawTask draw_all = {&network.head, features.get(), keys.get(), n, std::uint32_t(n_draws), 7, draws.get(), n_threads};
    require(surveyflow_draw(instruction_set, &draw_all) == done, "draw failed");
    check_statistics(instruction_set, network, {{draw_all.head}, {draw_all.features}}, draw_all);
    check_jury(instruction_set, network, draw_all);
    check_amounts(instruction_set, network, {{draw_all.head}, {draw_all.features}}, draw_all);
    check_stretch(instruction_set);
    check_threads(instruction_set, all, draw_all);

    const int i = between(0, n - 1), fewer = between(1, n_draws);
    std::unique_ptr<float[]> own(new float[n_features]), own_draws(new float[fewer * n_outputs]);
    const FeaturesTask one = {&network.trunk, cutouts.get() + std::size_t(i) * size, 1, own.get(), 1};
    require(surveyflow_features(instruction_set, &one) == done, "features failed");
    // What becomes of a NaN is the processor's business: its cutout gets no answer. All others must not know of it.
    if (i == spoiled) return;
    require(!std::memcmp(own.get(), features.get() + i * n_features, sizeof(float) * n_features), "features depend on the batch");
    const DrawTask draw_one = {&network.head, own.get(), keys.get() + i, 1, std::uint32_t(fewer), 7, own_draws.get(), 1};
    require(surveyflow_draw(instruction_set, &draw_one) == done, "draw failed");
    require(!std::memcmp(own_draws.get(), draws.get() + std::size_t(i) * n_draws * n_outputs, sizeof(float) * fewer * n_outputs),
            "draws depend on the batch");
}

// Squares of a file's image, on several threads, some of them beyond its edges; then of a file that ends within the image's last
// row, which raises SIGBUS in the threads that copy. File systems that cannot tell what is in the page cache copy nothing.
void check_stamps() {
    const int side = 4 * between(300, 600), size = between(2, 200), offset = 4 * between(0, 100);
    std::vector<std::uint32_t> image(std::size_t(side) * side);
    for (auto& bits : image) bits = static_cast<std::uint32_t>(generator());
    std::FILE* const file = std::tmpfile();
    std::vector<char> head(offset);
    if (!file || std::fwrite(head.data(), 1, offset, file) != std::size_t(offset) ||
        std::fwrite(image.data(), 4, image.size(), file) != image.size() || std::fflush(file)) {
        std::exit(3);
    }
    std::vector<std::int64_t> tops(between(1, 9)), lefts(tops.size());
    for (auto& top : tops) top = between(-2 * size, side + size);
    for (auto& left : lefts) left = between(-2 * size, side + size);
    std::vector<std::uint32_t> found(tops.size() * size * size, 1);
    StampsTask task{tops.data(), lefts.data(), std::int64_t(tops.size()), size, offset, side, side,
                    reinterpret_cast<float*>(found.data()), fileno(file), between(1, 3)};
    if (surveyflow_stamps(&task)) {
        for (std::size_t i = 0; i < found.size(); ++i) {
            const std::int64_t stamp = i / size / size, y = tops[stamp] + i / size % size, x = lefts[stamp] + i % size;
            const bool inside = 0 <= y && y < side && 0 <= x && x < side;
            if (found[i] != (inside ? __builtin_bswap32(image[y * side + x]) : 0)) std::exit(4);
        }
    }
    const std::int64_t none[4] = {};
    std::vector<float> whole(4 * image.size());
    task = {none, none, 4, side, offset, side, side, whole.data(), fileno(file), 3};
    if (ftruncate(fileno(file), offset + 4L * side * (side - 1) + 4) || surveyflow_stamps(&task)) std::exit(5);
    std::fclose(file);
}

// Two streams in blocks of their own; the states do not depend on the order of the streams, nor on how many blocks come at once.
void check_digests() {
    const int n_blocks = between(0, 9), first = between(0, n_blocks);
    std::vector<std::unique_ptr<unsigned char[]>> streams;
    for (int i = 0; i < 2; ++i) {
        streams.emplace_back(new unsigned char[64 * n_blocks]);
        for (int j = 0; j < 64 * n_blocks; ++j) streams[i][j] = static_cast<unsigned char>(generator());
    }
    std::vector<std::uint32_t> whole(16, 1), swapped(16, 1);
    DigestsTask task{whole.data(), {streams[0].get(), streams[1].get()}, n_blocks};
    if (!surveyflow_digest(&task)) return;
    task = {swapped.data(), {streams[1].get(), streams[0].get()}, first};
    surveyflow_digest(&task);
    task = {swapped.data(), {streams[1].get() + 64 * first, streams[0].get() + 64 * first}, n_blocks - first};
    surveyflow_digest(&task);
    for (int i = 0; i < 16; ++i) require(whole[i] == swapped[(i + 8) % 16], "digests depend on the order of streams or blocks");
}

// Images of few and of many values, with zeros, in arrays of exactly their size, against sorted copies.
void check_medians(int instruction_set) {
    const int n = between(0, 4), n_pixels = between(1, 3000), n_values = between(0, 1) ? between(1, 5) : INT_MAX;
    const double share = between(0, 2) / 2.0, widest = between(1, 80);
    std::unique_ptr<float[]> images(new float[n * n_pixels]), medians(new float[n]);
    for (int i = 0; i < n * n_pixels; ++i) {
        std::uniform_real_distribution<double> any(-widest, widest);
        const double value = n_values == INT_MAX ? any(generator) : between(1, n_values);
        images[i] = std::uniform_real_distribution<double>(0, 1)(generator) < share ? 0.0f : float(std::exp(value));
    }
    const MediansTask task = {images.get(), n, n_pixels, medians.get(), between(1, 3)};
    require(surveyflow_medians(instruction_set, &task) == done, "medians failed");
    for (int i = 0; i < n; ++i) {
        std::vector<float> own;
        std::copy_if(&images[i * n_pixels], &images[i * n_pixels] + n_pixels, std::back_inserter(own), [](float x) { return x > 0; });
        std::sort(own.begin(), own.end());
        const std::size_t half = own.size() / 2;
        if (own.empty()) require(std::isnan(medians[i]), "a median of nothing");
        else require(medians[i] == (own.size() % 2 ? own[half] : float((double(own[half - 1]) + own[half]) / 2)), "another median");
    }
}

// Rows of two images in a file, at once and in two calls, with parts in and around them; then of a file that ends in the last row.
void check_rows() {
    std::vector<std::uint32_t> states(16);
    const DigestsTask nothing{states.data(), {nullptr, nullptr}, 0};
    if (!surveyflow_digest(&nothing)) return;
    const std::int64_t n_columns = between(1, 2000), n_rows = between(1, 70), size = n_columns * n_rows;
    std::vector<std::uint32_t> images(2 * size);
    for (auto& bits : images) bits = static_cast<std::uint32_t>(generator());
    std::FILE* const file = std::tmpfile();
    if (!file || std::fwrite(images.data(), 4, images.size(), file) != images.size() || std::fflush(file)) std::exit(3);
    const std::int64_t x0 = between(0, n_columns - 1), x1 = between(x0 + 1, n_columns);
    const std::int64_t height = between(1, 90), width = between(1, 90);
    const std::int64_t y0 = between(0, n_rows - 1), y1 = between(y0, n_rows), middle = between(y0, y1);
    std::vector<std::int64_t> tops(between(0, 9)), lefts(tops.size());
    for (auto& top : tops) top = between(-2 * height, n_rows + height);
    for (auto& left : lefts) left = between(-2 * width, n_columns + width);
    struct Found {
        std::vector<std::uint32_t> states, science, weight;
        std::vector<unsigned char> rests;
        std::int64_t n_rest;
    };
    const auto found_from = [&](const std::vector<std::int64_t>& borders) {
        const std::size_t n_kept = tops.size() * height * width;
        Found found{std::vector<std::uint32_t>(16, 1), std::vector<std::uint32_t>(n_kept, 1), std::vector<std::uint32_t>(n_kept, 1),
                    std::vector<unsigned char>(128), 4 * (size % 16)};
        for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
            float* const parts[] = {reinterpret_cast<float*>(found.science.data()), reinterpret_cast<float*>(found.weight.data())};
            RowsTask task{found.states.data(), found.rests.data(), found.n_rest, {fileno(file), fileno(file)}, {0, 4 * size},
                          n_columns, borders[i], borders[i + 1], x0, x1, tops.data(), lefts.data(), std::int64_t(tops.size()),
                          height, width, {parts[0], parts[1]}, 0, 0};
            if (surveyflow_rows(&task)) std::exit(6);
            found.n_rest = task.n_rest;
        }
        return found;
    };
    const Found once = found_from({y0, y1}), twice = found_from({y0, middle, y1});
    require(once.states == twice.states && once.n_rest == twice.n_rest && once.science == twice.science, "rows depend on the calls");
    for (int rest = 0; rest < 128; rest += 64) {
        require(!std::memcmp(&once.rests[rest], &twice.rests[rest], std::size_t(once.n_rest)), "rests depend on the calls");
    }
    for (std::size_t i = 0; i < once.science.size(); ++i) {
        const std::int64_t part = i / width / height, y = tops[part] + i / width % height, x = lefts[part] + i % width;
        const bool inside = y0 <= y && y < y1 && x0 <= x && x < x1;
        require(once.science[i] == (inside ? __builtin_bswap32(images[y * n_columns + x]) : 1), "other pixels of the image");
        require(once.weight[i] == (inside ? __builtin_bswap32(images[size + y * n_columns + x]) : 1), "other pixels of the weights");
    }
    std::vector<unsigned char> rests(128);
    RowsTask task{states.data(), rests.data(), 0, {fileno(file), fileno(file)}, {0, 4 * size}, n_columns, 0, n_rows, 0, n_columns,
                  nullptr, nullptr, 0, 0, 0, {nullptr, nullptr}, 0, 0};
    if (ftruncate(fileno(file), 8 * size - 4) || surveyflow_rows(&task) != end_of_file) std::exit(7);
    require(task.failed_image == 1 && task.failed_row == n_rows - 1, "the end is elsewhere");
    std::fclose(file);
}

}  // namespace

int main(int, char** arguments) {
    generator.seed(std::strtoull(arguments[1], nullptr, 10));
    for (int round = std::atoi(arguments[2]); round > 0; --round) {
        if (round % 5 == 0) check_features();
        for (int i = 0; i < 20; ++i) check_counting();
        check_stamps();
        check_digests();
        check_rows();
        const auto network = random_network();
        for (int instruction_set = 0; instruction_set < 3; ++instruction_set) {
            if (!surveyflow_usable(instruction_set)) continue;
            check(instruction_set, *network);
            for (int i = 0; i < 5; ++i) check_medians(instruction_set);
        }
        arrays.clear();
    }
}
