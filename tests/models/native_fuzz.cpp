// Random networks through every instruction set, in buffers of exactly the size that they need, for the sanitizers to watch.
// Usage: native_fuzz SEED ROUNDS. Also fails where the answer depends on batch, threads or the number of draws.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "kernels.hpp"

extern "C" int surveyflow_usable(int instruction_set);
extern "C" int surveyflow_features(int instruction_set, const FeaturesTask* task);
extern "C" int surveyflow_draw(int instruction_set, const DrawTask* task);

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

void check(int instruction_set, const Network& network) {
    const ConvolutionSpec& first = network.convolutions[0];
    const int n = between(1, 5), size = first.input_size * first.n_inputs * first.input_size, n_features = network.trunk.n_real_features;
    const int n_draws = between(1, 150), n_outputs = network.dense.back().n_outputs, n_threads = between(1, 4);
    std::unique_ptr<float[]> cutouts(new float[std::size_t(n) * size]);
    std::memcpy(cutouts.get(), numbers(std::size_t(n) * size), sizeof(float) * n * size);
    if (between(0, 2) == 0) cutouts[between(0, n * size - 1)] = __builtin_nanf("");
    std::unique_ptr<float[]> features(new float[n * n_features]), draws(new float[std::size_t(n) * n_draws * n_outputs]);
    std::unique_ptr<std::uint64_t[]> keys(new std::uint64_t[n]);
    for (int i = 0; i < n; ++i) keys[i] = generator();
    const FeaturesTask all = {&network.trunk, cutouts.get(), n, features.get(), n_threads};
    require(surveyflow_features(instruction_set, &all) == done, "features failed");
    const DrawTask draw_all = {&network.head, features.get(), keys.get(), n, std::uint32_t(n_draws), 7, draws.get(), n_threads};
    require(surveyflow_draw(instruction_set, &draw_all) == done, "draw failed");

    const int i = between(0, n - 1), fewer = between(1, n_draws);
    std::unique_ptr<float[]> own(new float[n_features]), own_draws(new float[fewer * n_outputs]);
    const FeaturesTask one = {&network.trunk, cutouts.get() + std::size_t(i) * size, 1, own.get(), 1};
    require(surveyflow_features(instruction_set, &one) == done, "features failed");
    require(!std::memcmp(own.get(), features.get() + i * n_features, sizeof(float) * n_features), "features depend on the batch");
    const DrawTask draw_one = {&network.head, own.get(), keys.get() + i, 1, std::uint32_t(fewer), 7, own_draws.get(), 1};
    require(surveyflow_draw(instruction_set, &draw_one) == done, "draw failed");
    require(!std::memcmp(own_draws.get(), draws.get() + std::size_t(i) * n_draws * n_outputs, sizeof(float) * fewer * n_outputs),
            "draws depend on the batch");
}

}  // namespace

int main(int, char** arguments) {
    generator.seed(std::strtoull(arguments[1], nullptr, 10));
    for (int round = std::atoi(arguments[2]); round > 0; --round) {
        const auto network = random_network();
        for (int instruction_set = 0; instruction_set < 3; ++instruction_set) {
            if (surveyflow_usable(instruction_set)) check(instruction_set, *network);
        }
        arrays.clear();
    }
}
