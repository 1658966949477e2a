// A convolution by Fourier transform, in three stages. docs/explanation/fft-engine.md has the drawing.
//
//   transform_rows    rows of a map -> half spectra along x, two real rows in each complex transform
//   Columns           for one frequency along x: transforms along y, products over the channels, transforms back
//   restore_rows      rows of spectra -> pixels, bias, ReLU, batch normalisation, 2 x 2 max-pooling
//
// Rows go through in pairs, so that a pair and its transform stay in the first-level cache.
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

// Rows `first_row` to `first_row + n_rows` of one cutout; `rows` is the first of them. `work` holds 3 transforms.
inline void transform_rows(const Convolution& layer, const float* rows, int first_row, int n_rows, int cutout, int n_cutouts,
                           Complex* spectra, Complex* work) {
    const ConvolutionSpec& spec = *layer.spec;
    const int points = spec.points, channels = spec.n_inputs;
    const long pitch = long(spec.input_size) * channels, frequency_stride = layer.frequency_stride(n_cutouts);
    Complex* const pair = work + 2 * points;
    for (int tile = 0; tile < spec.n_tiles; ++tile) {
        const int x = tile * spec.tile_step, width = least(layer.tile_width(), spec.input_size - x);
        for (int vector = 0; vector < layer.in_vectors; ++vector) {
            for (int row = 0; row < n_rows; row += 2) {
                const float* upper = rows + row * pitch + long(x) * channels + vector * lanes;
                // Without a second row, the numbers do not matter: their row of spectra is never read.
                const float* lower = row + 1 < n_rows ? upper + pitch : upper;
                fft(layer.size, work,
                    [=](int i) { return i < width ? Complex{load(upper + i * channels), load(lower + i * channels)} : Complex{}; },
                    [pair](int i, Complex v) { pair[i] = v; });
                Complex* to = spectra + (long(tile * n_cutouts + cutout) * layer.in_vectors + vector) * layer.in_row_pitch +
                              first_row + row;
                for (int k = 0; k < layer.n_frequencies; ++k, to += frequency_stride) {
                    const Complex a = pair[k], b = pair[k ? points - k : 0];
                    fetch_soon(to + 2);
                    to[0] = {a.re + b.re, a.im - b.im};
                    to[1] = {a.im + b.im, b.re - a.re};
                }
            }
        }
    }
}

// The working memory of `Columns`: spectra of one frequency along x, before and after the product.
struct ColumnBuffers {
    float* inputs;    // [frequency along y][tile][re: input | im: input]
    Complex* outputs;  // [frequency along y][tile][vector]
    Complex* work;     // 3 transforms

    // Floats of padding keep the frequencies off the same cache sets.
    static long input_stride(const Convolution& layer, int n_tiles) { return 2L * layer.spec->n_inputs * n_tiles + 16; }
    static long output_stride(const Convolution& layer, int n_tiles) { return long(layer.out_vectors) * n_tiles + 1; }
    static long n_frequencies(const Convolution& layer) { return layer.spec->points + 2L; }  // twice those of a real column
};

// The row spectra of some cutouts, which are convolved in place, one frequency along x at a time.
class Columns {
public:
    Columns(const Convolution& layer, int n_cutouts, Complex* spectra, const ColumnBuffers& buffers)
        : layer_(layer), spec_(*layer.spec), buffers_(buffers), spectra_(spectra),
          n_tiles_(spec_.n_tiles * spec_.n_tiles * n_cutouts), frequency_stride_(layer.frequency_stride(n_cutouts)),
          input_stride_(ColumnBuffers::input_stride(layer, n_tiles_)),
          output_stride_(ColumnBuffers::output_stride(layer, n_tiles_)) {}

    void convolve() const {
        convolve_real_columns();
        for (int k = 1; k + 1 < layer_.n_frequencies; ++k) convolve_columns(k);
    }

private:
    void convolve_columns(int k) const {
        Complex *const columns = spectra_ + k * frequency_stride_, *const work = buffers_.work;
        const TransformSize& size = layer_.size;
        const long input_stride = input_stride_, output_stride = output_stride_, imaginary = spec_.n_inputs;
        for_each_input([=, &size](long place, int height, float* re) {
            const Complex* const from = columns + place;
            fft(size, work, [=](int i) { return i < height ? from[i] : Complex{}; }, [=](int i, Complex v) {
                store(re + i * input_stride, v.re);
                store(re + i * input_stride + imaginary, v.im);
            });
        });
        multiply_frequencies(k, 0, spec_.points);
        for_each_output([=, &size](long place, int height, const Complex* from) {
            Complex* const to = columns + place;
            fft(size, work, [=](int i) { return swapped(from[i * output_stride]); }, [=](int i, Complex v) {
                if (i < height) to[i] = swapped(v);
            });
        });
    }

    // The first and the last frequency along x. Their columns are real, so both take one complex transform, and half of the
    // frequencies along y is enough: those of the first are followed by those of the last.
    void convolve_real_columns() const {
        Complex *const columns = spectra_, *const work = buffers_.work, *const both = work + 2 * spec_.points;
        const TransformSize& size = layer_.size;
        const int points = spec_.points, half = points / 2;
        const long to_last = half * frequency_stride_, imaginary = spec_.n_inputs;
        const long input_stride = input_stride_, inputs_of_last = (half + 1) * input_stride;
        for_each_input([=, &size](long place, int height, float* re) {
            const Complex *const first = columns + place, *const last = first + to_last;
            fft(size, work, [=](int i) { return i < height ? Complex{first[i].re, last[i].re} : Complex{}; },
                [=](int i, Complex v) { both[i] = v; });
            for (int f = 0; f <= half; ++f) {
                const Complex a = both[f], b = both[f ? points - f : 0];
                float* const to = re + f * input_stride;
                store(to, 0.5f * (a.re + b.re));
                store(to + imaginary, 0.5f * (a.im - b.im));
                store(to + inputs_of_last, 0.5f * (a.im + b.im));
                store(to + inputs_of_last + imaginary, 0.5f * (b.re - a.re));
            }
        });
        multiply_frequencies(0, 0, half + 1);
        multiply_frequencies(half, half + 1, half + 1);
        const long output_stride = output_stride_, outputs_of_last = (half + 1) * output_stride;
        for_each_output([=, &size](long place, int height, const Complex* from) {
            Complex *const first = columns + place, *const last = first + to_last;
            fft(size, work, [=](int i) {
                const bool mirrored = i > half;
                const Complex* const at = from + (mirrored ? points - i : i) * output_stride;
                const Complex a = at[0], b = at[outputs_of_last];
                return mirrored ? Complex{b.re - a.im, a.re + b.im} : Complex{a.im + b.re, a.re - b.im};
            }, [=](int i, Complex v) {
                if (i >= height) return;
                first[i] = {v.im, Vec{}};
                last[i] = {v.re, Vec{}};
            });
        });
    }

    // Products at `n` frequencies along y, the first of which are in row `row` of the buffers.
    void multiply_frequencies(int k, int row, int n) const {
        const long weights_stride = 2L * spec_.n_inputs * spec_.n_outputs;
        const ProductShape shape = {spec_.n_inputs, layer_.out_vectors, 2 * spec_.n_inputs, spec_.n_inputs, layer_.out_vectors, 1,
                                    weights_stride};
        const float* const weights = spec_.spectrum + long(k) * spec_.points * weights_stride;
        for (int f = 0; f < n; ++f) {
            multiply(shape, n_tiles_, buffers_.inputs + (row + f) * input_stride_, weights + f * weights_stride,
                     buffers_.outputs + (row + f) * output_stride_);
        }
    }

    // Each vector of channels of each tile: `visit(place in the row spectra, rows, place in the product's inputs)`.
    template <class Visit>
    ALWAYS_INLINE void for_each_input(Visit visit) const {
        for (int number = 0; number < n_tiles_; ++number) {
            const int strip = number / spec_.n_tiles, y = number % spec_.n_tiles * spec_.tile_step;
            const int height = least(layer_.tile_width(), spec_.input_size - y);
            for (int vector = 0; vector < layer_.in_vectors; ++vector) {
                visit((long(strip) * layer_.in_vectors + vector) * layer_.in_row_pitch + y, height,
                      buffers_.inputs + long(number) * 2 * spec_.n_inputs + vector * lanes);
            }
        }
    }

    // The same of the product's outputs.
    template <class Visit>
    ALWAYS_INLINE void for_each_output(Visit visit) const {
        for (int number = 0; number < n_tiles_; ++number) {
            const int strip = number / spec_.n_tiles, y = number % spec_.n_tiles * spec_.tile_step;
            const int height = least(spec_.tile_step, output_size(spec_) - y);
            for (int vector = 0; vector < layer_.out_vectors; ++vector) {
                visit((long(strip) * layer_.out_vectors + vector) * layer_.out_row_pitch + y, height,
                      buffers_.outputs + long(number) * layer_.out_vectors + vector);
            }
        }
    }

    const Convolution& layer_;
    const ConvolutionSpec& spec_;
    const ColumnBuffers& buffers_;
    Complex* spectra_;
    int n_tiles_;  // of all cutouts
    long frequency_stride_, input_stride_, output_stride_;
};

// Spectra of rows, one vector of channels: value (k, row) lies at `first[k * frequency_stride + row]`.
struct RowSpectra {
    const Complex* first;
    long frequency_stride;
};

// Two rows of spectra, `second` values apart -> pixels: `store(x, values)` gets the first row's in .im, the second row's in .re.
template <class Store>
ALWAYS_INLINE void invert_rows(const TransformSize& size, RowSpectra spectra, int second, Complex* work, Store store) {
    const int points = size.points, half = points / 2;
    fft(size, work, [=](int i) {
        const bool mirrored = i > half;
        const Complex* rows = spectra.first + (mirrored ? points - i : i) * spectra.frequency_stride;
        const Complex a = rows[0], b = rows[second];
        if (mirrored) return Complex{b.re - a.im, a.re + b.im};
        fetch_soon(rows + 2);
        return Complex{a.im + b.re, a.re - b.im};
    }, store);
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

// `n_rows` rows of spectra, one vector of channels -> as many rows of a map, of which `map` is the first and `width` values are
// wanted. The last of an odd number of rows is transformed with the row above it, or with itself.
inline void restore_plain(const TransformSize& size, RowSpectra spectra, int n_rows, int width, const Activation& activation,
                          float* map, long pitch, int channels, Complex* work) {
    for (int row = 0; row < n_rows; row += 2) {
        const int first = row + 1 < n_rows || row == 0 ? row : row - 1, second = first + 1 < n_rows;
        float *const upper = map + first * pitch, *const lower = upper + second * pitch;
        invert_rows(size, {spectra.first + first, spectra.frequency_stride}, second, work, [=](int i, Complex values) {
            if (i >= width) return;
            store(upper + i * channels, activation(values.im));
            store(lower + i * channels, activation(values.re));
        });
    }
}

// The same with 2 x 2 max-pooling, in which an odd last row or column is dropped. Normalisation comes before the maximum, so the
// sign of its scale does not matter. `work` holds 3 transforms.
inline void restore_pooled(const TransformSize& size, RowSpectra spectra, int n_rows, int width, const Activation& activation,
                           float* map, long pitch, int channels, Complex* work) {
    Vec* const greatest = reinterpret_cast<Vec*>(work + 2 * size.points);
    for (int row = 0; row + 1 < n_rows; row += 2, map += pitch) {
        invert_rows(size, {spectra.first + row, spectra.frequency_stride}, 1, work, [=](int i, Complex values) {
            greatest[i] = greater(activation(values.im), activation(values.re));
        });
        for (int i = 0; i + 1 < width; i += 2) store(map + i / 2 * channels, greater(greatest[i], greatest[i + 1]));
    }
}

// All rows of one cutout, from spectra to its output map.
inline void restore_rows(const Convolution& layer, const Complex* spectra, int cutout, int n_cutouts, float* map, Complex* work) {
    const ConvolutionSpec& spec = *layer.spec;
    const int height = output_size(spec), channels = spec.n_outputs, pitch = map_size_after(spec) * channels;
    const auto restore = spec.pooled ? restore_pooled : restore_plain;
    for (int tile = 0; tile < spec.n_tiles; ++tile) {
        const int x = tile * spec.tile_step, width = least(spec.tile_step, height - x);
        for (int vector = 0; vector < layer.out_vectors; ++vector) {
            const Complex* first = spectra + (long(tile * n_cutouts + cutout) * layer.out_vectors + vector) * layer.out_row_pitch;
            float* const column = map + (spec.pooled ? x / 2 : x) * channels + vector * lanes;
            restore(layer.size, {first, layer.frequency_stride(n_cutouts)}, height, width, Activation::of(spec, vector), column,
                    pitch, channels, work);
        }
    }
}

}  // namespace SURVEYFLOW_ISA
