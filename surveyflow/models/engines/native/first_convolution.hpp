// The first convolution: few input channels, so only rows are transformed, and the kernel's rows are summed directly.
//
// An image is [y][channel][x]: its rows are those of all channels, one below the other, and so are the kernel's. An output row
// then begins `n_inputs` image rows below the one above it.
//
// At first, lanes are image rows: one transform gives the spectra of 2 x `lanes` rows. Then, as elsewhere, lanes are output
// channels: at each frequency the product's "inputs" are the kernel's rows, and its "tiles" are the output rows.
#pragma once

#include "convolution.hpp"

namespace SURVEYFLOW_ISA {

struct FirstConvolution {
    const ConvolutionSpec* spec;
    TransformSize size;
    int n_frequencies;
    int image_rows;   // of all channels
    int kernel_rows;  // of all channels
    int out_vectors;
    int row_pitch;  // rows of an image's spectra, whole vector pairs

    bool plan(const ConvolutionSpec& given) {
        spec = &given;
        n_frequencies = given.points / 2 + 1;
        image_rows = given.input_size * given.n_inputs;
        kernel_rows = given.kernel_size * given.n_inputs;
        out_vectors = given.n_outputs / lanes;
        row_pitch = (image_rows + 2 * lanes - 1) / (2 * lanes) * (2 * lanes) + rows_at_once * given.n_inputs;
        return plan_transform(given.points, size);
    }

    long block_stride() const { return long(out_vectors) * rows_at_once + 1; }  // complex vectors of one frequency
    long n_image_floats() const { return 2L * n_frequencies * row_pitch; }
    long n_block_vectors() const { return n_frequencies * block_stride(); }
};

// One image -> `spectra[frequency][re: row | im: row]`. `work` holds 4 transforms.
inline void transform_image(const FirstConvolution& layer, const float* image, float* spectra, Complex* work) {
    const int side = layer.spec->input_size, rows = layer.image_rows, points = layer.size.points, pitch = layer.row_pitch;
    Complex *const columns = work + 2 * points, *const transformed = columns + points;
    for (int row = 0; row < rows; row += 2 * lanes) {
        for (int x = 0; x < side; ++x) {
            float values[2 * lanes];
            for (int lane = 0; lane < 2 * lanes; ++lane) values[lane] = row + lane < rows ? image[(row + lane) * side + x] : 0.0f;
            columns[x] = {load(values), load(values + lanes)};
        }
        fft(layer.size, work, [=](int i) { return i < side ? columns[i] : Complex{}; },
            [transformed](int i, Complex v) { transformed[i] = v; });
        for (int k = 0; k < layer.n_frequencies; ++k) {
            const Complex a = transformed[k], b = transformed[k ? points - k : 0];
            float* to = spectra + 2L * k * pitch + row;
            store(to, a.re + b.re);
            store(to + lanes, a.im + b.im);
            store(to + pitch, a.im - b.im);
            store(to + pitch + lanes, b.re - a.re);
        }
    }
}

// Rows `first_row` to `first_row + n_rows` of the output -> `rows`, [row][x][channel]. `work` holds 3 transforms.
inline void convolve_image_rows(const FirstConvolution& layer, const float* spectra, int first_row, int n_rows, Complex* block,
                                float* rows, Complex* work) {
    const ConvolutionSpec& spec = *layer.spec;
    const int width = output_size(spec), channels = spec.n_outputs;
    const long pitch = long(width) * channels;
    const ProductShape shape = {layer.kernel_rows, layer.out_vectors, spec.n_inputs, layer.row_pitch, 1, rows_at_once,
                                2L * layer.kernel_rows * spec.n_outputs};
    for (int k = 0; k < layer.n_frequencies; ++k) {
        multiply(shape, n_rows, spectra + 2L * k * layer.row_pitch + first_row * spec.n_inputs,
                 spec.spectrum + 2L * k * layer.kernel_rows * spec.n_outputs, block + k * layer.block_stride());
    }
    for (int vector = 0; vector < layer.out_vectors; ++vector) {
        restore_plain(layer.size, {block + vector * rows_at_once, layer.block_stride()}, n_rows, width, Activation::of(spec, vector),
                      rows + vector * lanes, pitch, channels, work);
    }
}

}  // namespace SURVEYFLOW_ISA
