// A convolution by Fourier transform, in three stages. docs/explanation/fft-engine.md has the drawing.
//
//   transform_rows    8 rows of a map -> half spectra along x, two real rows in each complex transform
//   convolve_columns  for one frequency along x: transforms along y, products over the channels, transforms back
//   restore_rows      8 rows of spectra -> pixels, bias, ReLU, batch normalisation, 2 x 2 max-pooling
//
// Between the stages are row spectra: [frequency along x][tile along x][cutout][vector of channels][row]. A stage processes
// them one frequency at a time, so that its data stay in the cache.
#pragma once

#include "fft.hpp"
#include "product.hpp"

namespace SURVEYFLOW_ISA {

constexpr int rows_at_once = 8;

struct Convolution {
    const ConvolutionSpec* spec;
    TransformSize size;
    int n_frequencies;     // along x: points / 2 + 1
    int in_vectors, out_vectors;
    int in_row_pitch, out_row_pitch;  // rows of spectra, with one of padding against cache aliasing

    bool plan(const ConvolutionSpec& given) {
        spec = &given;
        n_frequencies = given.points / 2 + 1;
        in_vectors = given.n_inputs / lanes;
        out_vectors = given.n_outputs / lanes;
        in_row_pitch = (given.input_size + 1) / 2 * 2 + 1;
        out_row_pitch = (output_size(given) + 1) / 2 * 2 + 1;
        return plan_transform(given.points, size);
    }

    // Number of complex vectors of one frequency of `n_cutouts`, before or after the product.
    long frequency_stride(int n_cutouts) const {
        const long before = long(in_vectors) * in_row_pitch, after = long(out_vectors) * out_row_pitch;
        return spec->n_tiles * n_cutouts * (before > after ? before : after);
    }

    int tile_width() const { return spec->tile_step + spec->kernel_size - 1; }
};

// Prefetch two values that are needed soon: they are in a lower cache, in strides too long for the processor to predict.
ALWAYS_INLINE void fetch_soon(const Complex* two) {
    for (std::size_t line = 0; line < 2 * sizeof(Complex); line += 64) {
        __builtin_prefetch(reinterpret_cast<const char*>(two) + line, 0, 2);
    }
}

inline int least(int a, int b) { return a < b ? a : b; }

// Rows `first_row` to `first_row + n_rows` of one cutout; `rows` is the first of them. `work` holds 6 transforms.
inline void transform_rows(const Convolution& layer, const float* rows, int first_row, int n_rows, int cutout, int n_cutouts,
                           Complex* spectra, Complex* work) {
    const ConvolutionSpec& spec = *layer.spec;
    const int points = spec.points, channels = spec.n_inputs;
    const long pitch = long(spec.input_size) * channels, frequency_stride = layer.frequency_stride(n_cutouts);
    Complex* const pairs = work + 2 * points;
    for (int tile = 0; tile < spec.n_tiles; ++tile) {
        const int x = tile * spec.tile_step, width = least(layer.tile_width(), spec.input_size - x);
        for (int vector = 0; vector < layer.in_vectors; ++vector) {
            for (int row = 0; row < n_rows; row += 2) {
                const float* upper = rows + row * pitch + long(x) * channels + vector * lanes;
                // Without a second row, the numbers do not matter: their row of spectra is never read.
                const float* lower = row + 1 < n_rows ? upper + pitch : upper;
                Complex* const pair = pairs + row / 2 * points;
                fft(layer.size, work,
                    [=](int i) { return i < width ? Complex{load(upper + i * channels), load(lower + i * channels)} : Complex{}; },
                    [pair](int i, Complex v) { pair[i] = v; });
            }
            Complex* to = spectra + (long(tile * n_cutouts + cutout) * layer.in_vectors + vector) * layer.in_row_pitch + first_row;
            for (int k = 0; k < layer.n_frequencies; ++k, to += frequency_stride) {
                for (int row = 0; row < n_rows; row += 2) {
                    const Complex a = pairs[row / 2 * points + k], b = pairs[row / 2 * points + (k ? points - k : 0)];
                    to[row] = {a.re + b.re, a.im - b.im};
                    to[row + 1] = {a.im + b.im, b.re - a.re};
                }
            }
        }
    }
}

// The working memory of `convolve_columns`: spectra of one frequency along x, before and after the product.
struct ColumnBuffers {
    float* inputs;    // [frequency along y][tile][re: input | im: input]
    Complex* outputs;  // [frequency along y][tile][vector]
    Complex* work;

    // Floats of padding keep the frequencies off the same cache sets.
    static long input_stride(const Convolution& layer, int n_tiles) { return 2L * layer.spec->n_inputs * n_tiles + 16; }
    static long output_stride(const Convolution& layer, int n_tiles) { return long(layer.out_vectors) * n_tiles + 1; }
};

// Frequency `k` along x of `n_cutouts`, in place.
inline void convolve_columns(const Convolution& layer, int k, int n_cutouts, Complex* spectra, const ColumnBuffers& buffers) {
    const ConvolutionSpec& spec = *layer.spec;
    const int n_tiles = spec.n_tiles * spec.n_tiles * n_cutouts, points = spec.points;
    const long input_stride = ColumnBuffers::input_stride(layer, n_tiles);
    const long output_stride = ColumnBuffers::output_stride(layer, n_tiles);
    Complex* const columns = spectra + k * layer.frequency_stride(n_cutouts);
    const int n_strips = spec.n_tiles * n_cutouts;  // tiles along x of all cutouts

    for (int strip = 0; strip < n_strips; ++strip) {
        for (int tile = 0; tile < spec.n_tiles; ++tile) {
            const int y = tile * spec.tile_step, height = least(layer.tile_width(), spec.input_size - y);
            for (int vector = 0; vector < layer.in_vectors; ++vector) {
                const Complex* from = columns + (long(strip) * layer.in_vectors + vector) * layer.in_row_pitch + y;
                float* re = buffers.inputs + long(strip * spec.n_tiles + tile) * 2 * spec.n_inputs + vector * lanes;
                float* im = re + spec.n_inputs;
                fft(layer.size, buffers.work, [=](int i) { return i < height ? from[i] : Complex{}; }, [=](int i, Complex v) {
                    store(re + i * input_stride, v.re);
                    store(im + i * input_stride, v.im);
                });
            }
        }
    }

    const long weights_stride = 2L * spec.n_inputs * spec.n_outputs;
    const ProductShape shape = {spec.n_inputs, layer.out_vectors, 2 * spec.n_inputs, spec.n_inputs, layer.out_vectors, 1,
                                weights_stride};
    const float* weights = spec.spectrum + long(k) * points * weights_stride;
    for (int f = 0; f < points; ++f) {
        multiply(shape, n_tiles, buffers.inputs + f * input_stride, weights + f * weights_stride,
                 buffers.outputs + f * output_stride);
    }

    for (int strip = 0; strip < n_strips; ++strip) {
        for (int tile = 0; tile < spec.n_tiles; ++tile) {
            const int y = tile * spec.tile_step, height = least(spec.tile_step, output_size(spec) - y);
            for (int vector = 0; vector < layer.out_vectors; ++vector) {
                const Complex* from = buffers.outputs + long(strip * spec.n_tiles + tile) * layer.out_vectors + vector;
                Complex* to = columns + (long(strip) * layer.out_vectors + vector) * layer.out_row_pitch + y;
                fft(layer.size, buffers.work, [=](int i) { return swapped(from[i * output_stride]); }, [=](int i, Complex v) {
                    if (i < height) to[i] = swapped(v);
                });
            }
        }
    }
}

// Spectra of rows, one vector of channels: value (k, row) lies at `first[k * frequency_stride + row]`.
struct RowSpectra {
    const Complex* first;
    long frequency_stride;
};

// At most `rows_at_once` rows of spectra -> pixels: `pairs[row / 2 * points + x]` holds the even row's in .im, the odd row's in .re.
inline void invert_rows(const TransformSize& size, RowSpectra spectra, int n_rows, int width, Complex* pairs, Complex* work) {
    const int points = size.points, half = points / 2;
    Complex* const packed = work + 2 * points;
    for (int k = 0; k <= half; ++k) {
        const Complex* rows = spectra.first + k * spectra.frequency_stride;
        for (int row = 0; row < n_rows; row += 2) {
            const Complex a = rows[row], b = row + 1 < n_rows ? rows[row + 1] : Complex{};
            Complex* pair = packed + row / 2 * points;
            fetch_soon(rows + row + rows_at_once);
            pair[k] = {a.im + b.re, a.re - b.im};
            if (k != 0 && k != half) pair[points - k] = {b.re - a.im, a.re + b.im};
        }
    }
    for (int row = 0; row < n_rows; row += 2) {
        const Complex* from = packed + row / 2 * points;
        Complex* to = pairs + row / 2 * points;
        fft(size, work, [=](int i) { return from[i]; }, [=](int i, Complex v) {
            if (i < width) to[i] = v;
        });
    }
}

// Bias, ReLU, and batch normalisation as an affine map.
struct Activation {
    Vec bias, scale, shift;

    static Activation of(const ConvolutionSpec& spec, int vector) {
        const int channel = vector * lanes;
        return {load(spec.bias + channel), load(spec.scale + channel), load(spec.shift + channel)};
    }

    ALWAYS_INLINE Vec operator()(Vec value) const { return positive_part(value + bias) * scale + shift; }
};

// One row pair -> one or two rows of a map; `lower` is null if there is no second row.
inline void activate(const Activation& activation, const Complex* pair, int width, int channels, float* upper, float* lower) {
    for (int i = 0; i < width; ++i) {
        store(upper + i * channels, activation(pair[i].im));
        if (lower) store(lower + i * channels, activation(pair[i].re));
    }
}

// One row pair -> one row of a map. Normalisation comes before the maximum, so the sign of its scale does not matter.
inline void activate_and_pool(const Activation& activation, const Complex* pair, int width, int channels, float* row) {
    for (int i = 0; i + 1 < width; i += 2) {
        const Vec left = greater(activation(pair[i].im), activation(pair[i].re));
        const Vec right = greater(activation(pair[i + 1].im), activation(pair[i + 1].re));
        store(row + i / 2 * channels, greater(left, right));
    }
}

// All rows of one cutout, from spectra to its output map.
inline void restore_rows(const Convolution& layer, const Complex* spectra, int cutout, int n_cutouts, float* map, Complex* work) {
    const ConvolutionSpec& spec = *layer.spec;
    const int height = output_size(spec), channels = spec.n_outputs, pitch = map_size_after(spec) * channels;
    Complex* const pairs = work + 6 * spec.points;
    for (int tile = 0; tile < spec.n_tiles; ++tile) {
        const int x = tile * spec.tile_step, width = least(spec.tile_step, height - x);
        for (int vector = 0; vector < layer.out_vectors; ++vector) {
            const Activation activation = Activation::of(spec, vector);
            const Complex* first = spectra + (long(tile * n_cutouts + cutout) * layer.out_vectors + vector) * layer.out_row_pitch;
            float* const column = map + (spec.pooled ? x / 2 : x) * channels + vector * lanes;
            for (int row = 0; row < height; row += rows_at_once) {
                const int n_rows = least(rows_at_once, height - row);
                invert_rows(layer.size, {first + row, layer.frequency_stride(n_cutouts)}, n_rows, width, pairs, work);
                for (int r = 0; r < n_rows; r += 2) {
                    const Complex* pair = pairs + r / 2 * spec.points;
                    const bool whole = r + 1 < n_rows;
                    if (!spec.pooled) {
                        float* upper = column + long(row + r) * pitch;
                        activate(activation, pair, width, channels, upper, whole ? upper + pitch : nullptr);
                    } else if (whole) {
                        activate_and_pool(activation, pair, width, channels, column + long(row + r) / 2 * pitch);
                    }
                }
            }
        }
    }
}

}  // namespace SURVEYFLOW_ISA
