// The functions of each instruction set's translation unit.
#pragma once

#include "network.hpp"

struct FeaturesTask {
    const TrunkSpec* trunk;
    const float* cutouts;
    std::int64_t n_cutouts;
    float* features;
    int n_threads;
};

struct DrawTask {
    const HeadSpec* head;
    const float* features;
    const std::uint64_t* source_keys;
    std::int64_t n_sources;
    std::uint32_t n_draws;
    std::uint32_t seed;
    float* draws;
    int n_threads;
};

// The statistics of two outputs from which stats/posterior.py computes a source's summary. Several heads make the draws in turn:
// draw i is that of head i % n_members.
struct StatisticsTask {
    std::int32_t n_members;
    const HeadSpec* const* heads;
    const float* const* features; // of each head
    const std::uint64_t* source_keys;
    std::int64_t n_sources;
    std::uint32_t n_draws;
    std::uint32_t seed;
    std::int32_t outputs[2];
    std::int32_t n_ranks;
    const std::int32_t* ranks;    // of the draws in ascending order; ascending
    std::int32_t n_bins;
    const float* edges;           // n_bins + 1
    float* ranked;                // [source][output][rank], NaN like the sums if any draw is
    double* member_sums;          // [source][head][output]
    double* squares;              // [source][output], about the mean
    std::int32_t* wins;           // [source]: draws of the first output that are greater than those of the second
    double* shares;               // [source][output]: the sum of the output's shares in the sum of both, NaN if any draw is
    double* entropies;            // [source]: the sum of the entropies of the two shares, nats; NaN if any draw is
    std::uint16_t* histogram;     // [source][bin], of the first output
    int n_threads;
};

// Outputs that state how probably something is there, and how much of it: see stats/posterior.py.
struct AmountSpec {
    double sigma;            // standard deviation of the location for an output of 1
    double reach;            // what a location of 1 stands for, before the curve
    std::int32_t presence;   // numbers of the outputs
    std::int32_t location;
    std::int32_t scatter;
    std::int32_t curve;      // 0: exp(x) - 1; 1: sinh(x)
};

// The statistics of amounts; the members' draws follow one another.
struct AmountsTask {
    std::int32_t n_members;
    const HeadSpec* const* heads;
    const float* const* features; // of each head
    const std::uint64_t* source_keys;
    std::int64_t n_sources;
    std::uint32_t n_draws;
    std::uint32_t seed;
    std::int32_t n_amounts;
    const AmountSpec* amounts;    // [head][amount]
    std::int32_t n_ranks;
    const std::int32_t* ranks;    // of the amounts in ascending order; ascending
    double* presences;            // [source][amount][sum, squares about the mean], NaN like the others if any draw is
    double* moments;              // [source][amount][sum, squares about the mean]
    float* ranked;                // [source][amount][rank]
    int n_threads;
};

// prepared = arcsinh((pixels - level) / softening) of the valid pixels, brought to [0, 1] if `minmax`: see sky/stretch.py.
struct StretchTask {
    const float* pixels;          // [cutout][pixel]
    const std::uint8_t* valid;    // [cutout][pixel]: 0 or 1
    std::int64_t n_cutouts;
    std::int64_t n_pixels;
    const double* levels;         // [cutout]
    const double* softenings;     // [cutout]: all pixels become 0 unless it is above 0
    std::int32_t minmax;
    float* prepared;              // [cutout][pixel]
    int n_threads;
};

// The medians of the positive pixels of images.
struct MediansTask {
    const float* images;          // [image][pixel], without NaN
    std::int64_t n_images;
    std::int64_t n_pixels;        // of an image, fewer than 2^31
    float* medians;               // [image]; NaN without a positive pixel
    int n_threads;
};

enum Outcome { done = 0, out_of_memory = 1, bad_specification = 2 };

struct Kernels {
    int (*features)(const FeaturesTask&);
    int (*draw)(const DrawTask&);
    int (*statistics)(const StatisticsTask&);
    int (*amounts)(const AmountsTask&);
    int (*stretch)(const StretchTask&);
    int (*medians)(const MediansTask&);
};

const Kernels* portable_kernels();
const Kernels* avx2_kernels();    // null if the compiler could not make them
const Kernels* avx512_kernels();
