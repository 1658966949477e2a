// From cutouts to features: all convolutions, the mean over the last maps, and the first dense layer.
#pragma once

#include "first_convolution.hpp"
#include "memory.hpp"
#include "parallel.hpp"

namespace SURVEYFLOW_ISA {

constexpr int most_convolutions = 32;
constexpr int most_cutouts_at_once = 24;          // go through all layers together, to share the reading of spectra
constexpr long column_bytes_at_once = 450 * 1024;  // of one frequency's columns: they stay in a core's second-level cache

class Trunk {
public:
    // False if this code cannot carry out the specification.
    bool plan(const TrunkSpec& spec) {
        spec_ = &spec;
        if (spec.n_convolutions < 2 || spec.n_convolutions > most_convolutions) return false;
        if (!first_.plan(spec.convolutions[0])) return false;
        for (int i = 1; i < spec.n_convolutions; ++i) {
            if (!layers_[i].plan(spec.convolutions[i])) return false;
        }
        return true;
    }

    std::size_t scratch_bytes(int n_cutouts) const {
        const Sizes sizes = needed(n_cutouts);
        return Scratch::rounded(sizeof(Complex) * sizes.spectra) + Scratch::rounded(4 * sizes.column_inputs) +
               Scratch::rounded(sizeof(Complex) * sizes.column_outputs) + 2 * Scratch::rounded(4 * sizes.map) +
               Scratch::rounded(sizeof(Complex) * sizes.work) + Scratch::rounded(4 * sizes.image) +
               Scratch::rounded(sizeof(Complex) * sizes.block) + Scratch::rounded(4 * sizes.rows);
    }

    // Up to `most_cutouts_at_once` cutouts, with scratch memory for at least as many.
    void run(const float* cutouts, int n_cutouts, float* features, Scratch& scratch) const {
        const Sizes sizes = needed(n_cutouts);
        Buffers buffers;
        buffers.spectra = scratch.take<Complex>(sizes.spectra);
        buffers.columns.inputs = scratch.take<float>(sizes.column_inputs);
        buffers.columns.outputs = scratch.take<Complex>(sizes.column_outputs);
        float *map = scratch.take<float>(sizes.map), *next = scratch.take<float>(sizes.map);
        buffers.work = buffers.columns.work = scratch.take<Complex>(sizes.work);
        buffers.image = scratch.take<float>(sizes.image);
        buffers.block = scratch.take<Complex>(sizes.block);
        buffers.rows = scratch.take<float>(sizes.rows);
        for (int i = 1; i < spec_->n_convolutions; ++i) {
            convolve(i, i == 1 ? cutouts : map, n_cutouts, next, buffers);
            float* const emptied = map;
            map = next;
            next = emptied;
        }
        for (int c = 0; c < n_cutouts; ++c) {
            average_and_dense(map + c * map_floats(spec_->n_convolutions - 1), features + long(c) * spec_->n_real_features, next);
        }
    }

private:
    struct Sizes {
        long spectra, column_inputs, column_outputs, map, work, image, block, rows;
    };

    struct Buffers {
        Complex* spectra;
        ColumnBuffers columns;
        Complex* work;
        float* image;
        Complex* block;
        float* rows;
    };

    static long greatest(long a, long b) { return a > b ? a : b; }

    Sizes needed(int n_cutouts) const {
        Sizes sizes = {};
        sizes.work = 4L * first_.spec->points;
        sizes.image = first_.n_image_floats();
        sizes.block = first_.n_block_vectors();
        sizes.rows = long(rows_at_once) * output_size(*first_.spec) * first_.spec->n_outputs;
        sizes.map = greatest(spec_->convolutions[spec_->n_convolutions - 1].n_outputs, spec_->n_features);
        for (int i = 1; i < spec_->n_convolutions; ++i) {
            const Convolution& layer = layers_[i];
            const int at_once = cutouts_at_once(layer, n_cutouts), n_tiles = at_once * layer.spec->n_tiles * layer.spec->n_tiles;
            const long points = layer.spec->points;
            sizes.spectra = greatest(sizes.spectra, layer.n_frequencies * layer.frequency_stride(at_once));
            const long frequencies = ColumnBuffers::n_frequencies(layer);
            sizes.column_inputs = greatest(sizes.column_inputs, frequencies * ColumnBuffers::input_stride(layer, n_tiles));
            sizes.column_outputs = greatest(sizes.column_outputs, frequencies * ColumnBuffers::output_stride(layer, n_tiles));
            sizes.work = greatest(sizes.work, 4 * points);
            sizes.map = greatest(sizes.map, n_cutouts * map_floats(i));
        }
        return sizes;
    }

    long map_floats(int i) const {
        const long side = map_size_after(spec_->convolutions[i]);
        return side * side * spec_->convolutions[i].n_outputs;
    }

    static int cutouts_at_once(const Convolution& layer, int n_cutouts) {
        const ConvolutionSpec& spec = *layer.spec;
        const long bytes = 8L * spec.points * spec.n_tiles * spec.n_tiles * (spec.n_inputs + spec.n_outputs);
        const long fitting = column_bytes_at_once / bytes;
        return fitting < 1 ? 1 : least(static_cast<int>(fitting < n_cutouts ? fitting : n_cutouts), n_cutouts);
    }

    void convolve(int i, const float* from, int n_cutouts, float* to, const Buffers& buffers) const {
        const Convolution& layer = layers_[i];
        const int at_once = cutouts_at_once(layer, n_cutouts);
        const long in_floats = i == 1 ? long(first_.image_rows) * first_.spec->input_size : map_floats(i - 1);
        for (int done = 0; done < n_cutouts; done += at_once) {
            const int n = least(at_once, n_cutouts - done);
            for (int c = 0; c < n; ++c) {
                const float* input = from + (done + c) * in_floats;
                if (i == 1) transform_convolved_image(input, c, n, buffers);
                else transform_map(layer, input, c, n, buffers);
            }
            Columns(layer, n, buffers.spectra, buffers.columns).convolve();
            for (int c = 0; c < n; ++c) restore_rows(layer, buffers.spectra, c, n, to + (done + c) * map_floats(i), buffers.work);
        }
    }

    static void transform_map(const Convolution& layer, const float* map, int cutout, int n_cutouts, const Buffers& buffers) {
        const int side = layer.spec->input_size, channels = layer.spec->n_inputs;
        for (int row = 0; row < side; row += rows_at_once) {
            transform_rows(layer, map + long(row) * side * channels, row, least(rows_at_once, side - row), cutout, n_cutouts,
                           buffers.spectra, buffers.work);
        }
    }

    // The first two convolutions are joined: the map of the first is never stored, only the rows that are transformed next.
    void transform_convolved_image(const float* image, int cutout, int n_cutouts, const Buffers& buffers) const {
        transform_image(first_, image, buffers.image, buffers.work);
        const int side = output_size(*first_.spec);
        for (int row = 0; row < side; row += rows_at_once) {
            const int n_rows = least(rows_at_once, side - row);
            convolve_image_rows(first_, buffers.image, row, n_rows, buffers.block, buffers.rows, buffers.work);
            transform_rows(layers_[1], buffers.rows, row, n_rows, cutout, n_cutouts, buffers.spectra, buffers.work);
        }
    }

    void average_and_dense(const float* map, float* features, float* mean) const {
        const ConvolutionSpec& last = spec_->convolutions[spec_->n_convolutions - 1];
        const int side = map_size_after(last), channels = last.n_outputs;
        for (int c = 0; c < channels; c += lanes) {
            Vec sum = {};
            for (int y = 0; y < side; ++y) {
                Vec row = {};  // sums of sums have smaller rounding errors
                for (int x = 0; x < side; ++x) row += load(map + (long(y) * side + x) * channels + c);
                sum += row;
            }
            store(mean + c, sum / static_cast<float>(side * side));
        }
        for (int u = 0; u < spec_->n_features; u += lanes) {
            Vec sum = load(spec_->dense_bias + u);
            for (int c = 0; c < channels; ++c) sum += mean[c] * load(spec_->dense_kernel + long(c) * spec_->n_features + u);
            float values[lanes];
            store(values, sum);
            for (int lane = 0; lane < lanes && u + lane < spec_->n_real_features; ++lane) features[u + lane] = values[lane];
        }
    }

    const TrunkSpec* spec_ = nullptr;
    FirstConvolution first_;
    Convolution layers_[most_convolutions];
};

}  // namespace SURVEYFLOW_ISA
