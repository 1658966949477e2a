// What each instruction set's translation unit offers.
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

enum Outcome { done = 0, out_of_memory = 1, bad_specification = 2 };

struct Kernels {
    int (*features)(const FeaturesTask&);
    int (*draw)(const DrawTask&);
};

const Kernels* portable_kernels();
const Kernels* avx2_kernels();    // null where the compiler could not make them
const Kernels* avx512_kernels();
