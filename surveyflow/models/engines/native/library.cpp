// The library's interface: a few plain functions, called from native_library.py.
#include "digests.hpp"
#include "kernels.hpp"
#include "rows.hpp"
#include "stamps.hpp"

namespace {

bool runs_here(int number) {
#if defined(__x86_64__)
    if (number == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (number == 2) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#endif
    return number == 0;
}

const Kernels* kernels_of(int number) {
    switch (number) {
        case 0: return portable_kernels();
#if defined(__x86_64__)
        case 1: return avx2_kernels();
        case 2: return avx512_kernels();
#endif
    }
    return nullptr;
}

const Kernels* usable(int number) { return runs_here(number) ? kernels_of(number) : nullptr; }

}  // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Increases with every change of the specifications' layout.
EXPORTED int surveyflow_abi() { return 9; }

// Digest of the sources that this was compiled from; see build.py.
EXPORTED const char* surveyflow_source_digest() { return SURVEYFLOW_SOURCE_DIGEST; }

// Instruction sets by number: 0 portable, 1 AVX2 with FMA, 2 AVX-512.
EXPORTED int surveyflow_usable(int instruction_set) { return usable(instruction_set) != nullptr; }

EXPORTED int surveyflow_features(int instruction_set, const FeaturesTask* task) {
    const Kernels* kernels = usable(instruction_set);
    return kernels ? kernels->features(*task) : bad_specification;
}

EXPORTED int surveyflow_draw(int instruction_set, const DrawTask* task) {
    const Kernels* kernels = usable(instruction_set);
    return kernels ? kernels->draw(*task) : bad_specification;
}

EXPORTED int surveyflow_statistics(int instruction_set, const StatisticsTask* task) {
    const Kernels* kernels = usable(instruction_set);
    return kernels ? kernels->statistics(*task) : bad_specification;
}

EXPORTED int surveyflow_amounts(int instruction_set, const AmountsTask* task) {
    const Kernels* kernels = usable(instruction_set);
    return kernels ? kernels->amounts(*task) : bad_specification;
}

EXPORTED int surveyflow_stretch(int instruction_set, const StretchTask* task) {
    const Kernels* kernels = usable(instruction_set);
    return kernels ? kernels->stretch(*task) : bad_specification;
}

EXPORTED int surveyflow_medians(int instruction_set, const MediansTask* task) {
    const Kernels* kernels = usable(instruction_set);
    return kernels ? kernels->medians(*task) : bad_specification;
}

// Two streams at once; see can_digest. False if this processor cannot.
EXPORTED int surveyflow_digest(const DigestsTask* task) {
    if (!can_digest()) return false;
    digest(*task);
    return true;
}

EXPORTED int surveyflow_stamps(const StampsTask* task) { return copy_stamps(*task); }

// See digest_rows; the processor must be able to digest.
EXPORTED int surveyflow_rows(RowsTask* task) { return digest_rows(*task); }
