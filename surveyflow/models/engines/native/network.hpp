// The input from Python: the shape of a network and the addresses of its numbers. native_library.py mirrors the structs.
//
// Channels come in groups of 16, the last padded with zeros; maps are [y][x][channel]. A spectrum of kernels is
// [column frequency][row frequency][group of outputs][input][re 16, im 16] (the first convolution: kernel row in place of
// row frequency and input, the rows of all input channels one below the other), the complex conjugate of the kernel's transform, with the transforms' norm in it.
#pragma once

#include <cstdint>

constexpr int group_size = 16;

struct ConvolutionSpec {
    std::int32_t points;        // of the transform
    std::int32_t kernel_size;
    std::int32_t input_size;    // side of the input map
    std::int32_t tile_step;     // outputs of a tile along each axis
    std::int32_t n_tiles;       // along each axis
    std::int32_t n_inputs;      // channels, padded; the first convolution's as they are
    std::int32_t n_outputs;     // channels, padded
    std::int32_t pooled;        // whether 2 x 2 max-pooling follows
    const float* spectrum;
    const float* bias;          // n_outputs, like the next two
    const float* scale;         // of batch normalisation, after the ReLU
    const float* shift;
};

struct TrunkSpec {
    std::int32_t n_convolutions;
    std::int32_t n_features;    // units of the first dense layer, padded
    std::int32_t n_real_features;
    const ConvolutionSpec* convolutions;
    const float* dense_kernel;  // [channel, padded][unit, padded]
    const float* dense_bias;
};

struct DenseSpec {
    std::int32_t n_inputs;
    std::int32_t n_outputs;     // padded to whole blocks of 128, but for the last layer's
    const float* kernel;        // [input][output]; the last layer's is [output][input, padded to whole groups of 16]
    const float* bias;
};

struct HeadSpec {
    std::int32_t n_layers;      // dense layers after the features
    std::int32_t n_units;       // units that are followed by dropout
    std::int32_t n_blocks;      // Philox blocks per draw; 0 if nothing is dropped
    std::int32_t one_bit;       // whether one bit decides about a unit; otherwise a word does
    std::uint32_t threshold;    // the smallest word that keeps a unit
    std::uint32_t model_word;
    const DenseSpec* layers;
};

inline int output_size(const ConvolutionSpec& layer) { return layer.input_size - layer.kernel_size + 1; }
inline int map_size_after(const ConvolutionSpec& layer) { return layer.pooled ? output_size(layer) / 2 : output_size(layer); }
