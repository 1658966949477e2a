// The sum over input channels at one frequency: a small complex matrix product, held in registers.
#pragma once

#include "network.hpp"
#include "simd.hpp"

namespace SURVEYFLOW_ISA {

constexpr int vectors_a_group = group_size / lanes;

// 32 vector registers hold 6 tiles x 2 vectors of complex sums, with 4 of weights and 2 of inputs; 16 hold 2 tiles' sums.
#if defined(__aarch64__) || SURVEYFLOW_LANES == 16
#define SURVEYFLOW_TILES 6
#else
#define SURVEYFLOW_TILES 2
#endif
constexpr int tiles_at_once = SURVEYFLOW_TILES;

// The layout of the product's inputs and outputs, in floats and in complex vectors.
struct ProductShape {
    int n_inputs;         // summed over
    int n_vectors;        // of outputs
    int tile_stride;      // from one tile's inputs to the next's, floats
    int imaginary;        // from an input's real part to its imaginary part, floats
    int out_tile_stride;  // complex vectors
    int out_vector_stride;
    long ahead;           // from weights to those needed next, floats: those are prefetched
};

template <int number>
struct Count {
    static constexpr int value = number;
};

template <int tiles, int vectors, bool fetch_ahead>
ALWAYS_INLINE void multiply_block(const ProductShape& shape, const float* inputs, const float* weights, int first, Complex* out) {
    const float* panel[vectors];
    Complex sum[tiles][vectors];
    for (int v = 0; v < vectors; ++v) {
        const int vector = first + v;
        panel[v] = weights + (vector / vectors_a_group) * shape.n_inputs * 2 * group_size + (vector % vectors_a_group) * lanes;
        for (int t = 0; t < tiles; ++t) sum[t][v] = Complex{};
    }
    for (int i = 0; i < shape.n_inputs; ++i) {
        Complex weight[vectors];
        UNROLL for (int v = 0; v < vectors; ++v) {
            const float* from = panel[v] + 2 * group_size * i;
            weight[v] = {load(from), load(from + group_size)};
            if (fetch_ahead) {
                __builtin_prefetch(from + shape.ahead, 0, 2);
                __builtin_prefetch(from + shape.ahead + group_size, 0, 2);
            }
        }
        UNROLL for (int t = 0; t < tiles; ++t) {
            const float* input = inputs + t * shape.tile_stride + i;
            const Vec re = broadcast(input[0]), im = broadcast(input[shape.imaginary]);
            UNROLL for (int v = 0; v < vectors; ++v) {
                sum[t][v].re += re * weight[v].re;
                sum[t][v].re -= im * weight[v].im;
                sum[t][v].im += re * weight[v].im;
                sum[t][v].im += im * weight[v].re;
            }
        }
    }
    for (int t = 0; t < tiles; ++t) {
        for (int v = 0; v < vectors; ++v) out[t * shape.out_tile_stride + (first + v) * shape.out_vector_stride] = sum[t][v];
    }
}

// The tiles in even blocks of at most `tiles_at_once`. The split does not change any tile's sum.
template <int vectors>
ALWAYS_INLINE void multiply_tiles(const ProductShape& shape, int n_tiles, const float* inputs, const float* weights, int first,
                                  Complex* out) {
    for (int done = 0, block; done < n_tiles; done += block) {
        const int left = n_tiles - done, blocks = (left + tiles_at_once - 1) / tiles_at_once;
        block = (left + blocks - 1) / blocks;
        const float* from = inputs + done * shape.tile_stride;
        Complex* to = out + done * shape.out_tile_stride;
        const auto run = [&](auto tiles) {
            if (done == 0) multiply_block<tiles.value, vectors, true>(shape, from, weights, first, to);
            else multiply_block<tiles.value, vectors, false>(shape, from, weights, first, to);
        };
        switch (block) {
            case 1: run(Count<1>{}); break;
            case 2: run(Count<2>{}); break;
#if SURVEYFLOW_TILES == 6
            case 3: run(Count<3>{}); break;
            case 4: run(Count<4>{}); break;
            case 5: run(Count<5>{}); break;
            case 6: run(Count<6>{}); break;
#endif
        }
    }
}

// out[tile][vector] = sum over inputs of inputs[tile][i] * weights[group][i].
inline void multiply(const ProductShape& shape, int n_tiles, const float* inputs, const float* weights, Complex* out) {
    int vector = 0;
    for (; vector + 2 <= shape.n_vectors; vector += 2) multiply_tiles<2>(shape, n_tiles, inputs, weights, vector, out);
    if (vector < shape.n_vectors) multiply_tiles<1>(shape, n_tiles, inputs, weights, vector, out);
}

}  // namespace SURVEYFLOW_ISA
