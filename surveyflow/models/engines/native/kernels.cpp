// Compiled once for each instruction set, with its own flags.
#include "kernels.hpp"

#include "head.hpp"
#include "statistics.hpp"
#include "trunk.hpp"

namespace SURVEYFLOW_ISA {
namespace {

struct FeaturesWork {
    const FeaturesTask& task;
    const Trunk& trunk;
    int at_once;
    TaskQueue queue;
};

void features_on_one_thread(void* context) {
    FeaturesWork& work = *static_cast<FeaturesWork*>(context);
    const FeaturesTask& task = work.task;
    const ConvolutionSpec& image = task.trunk->convolutions[0];
    const long floats = long(image.input_size) * image.n_inputs * image.input_size;
    Scratch scratch(work.trunk.scratch_bytes(work.at_once));
    if (scratch.failed()) return work.queue.fail();
    for (std::int64_t number; work.queue.next(number);) {
        const std::int64_t first = number * work.at_once, left = task.n_cutouts - first;
        scratch.reset();
        work.trunk.run(task.cutouts + first * floats, left < work.at_once ? static_cast<int>(left) : work.at_once,
                       task.features + first * task.trunk->n_real_features, scratch);
    }
}

int features(const FeaturesTask& task) {
    Trunk trunk;
    if (!trunk.plan(*task.trunk)) return bad_specification;
    if (task.n_cutouts == 0) return done;
    const std::int64_t share = (task.n_cutouts + task.n_threads - 1) / task.n_threads;
    const int at_once = static_cast<int>(share < most_cutouts_at_once ? share : most_cutouts_at_once);
    const std::int64_t n_tasks = (task.n_cutouts + at_once - 1) / at_once;
    FeaturesWork work = {task, trunk, at_once, TaskQueue(n_tasks)};
    run_on_threads(task.n_threads < n_tasks ? task.n_threads : static_cast<int>(n_tasks), features_on_one_thread, &work);
    return work.queue.failed() ? out_of_memory : done;
}

struct DrawWork {
    const DrawTask& task;
    const Head& head;
    TaskQueue queue;
};

void draw_on_one_thread(void* context) {
    DrawWork& work = *static_cast<DrawWork*>(context);
    const DrawTask& task = work.task;
    const int n_outputs = work.head.n_outputs();
    const std::int64_t n_numbers = std::int64_t(task.n_draws) * n_outputs;
    Scratch scratch(work.head.scratch_bytes());
    if (scratch.failed()) return work.queue.fail();
    for (std::int64_t source; work.queue.next(source);) {
        scratch.reset();
        float* const draws = task.draws + source * n_numbers;
        const auto write = [=](std::uint32_t first, int n, const float* logits) {
            Head::write_probabilities(logits, n * n_outputs, draws + std::int64_t(first) * n_outputs);
        };
        const bool drawn = work.head.draw(task.features + source * task.head->layers[0].n_inputs, task.source_keys[source],
                                          task.n_draws, task.seed, scratch, write);
        if (!drawn) for (std::int64_t i = 0; i < n_numbers; ++i) draws[i] = __builtin_nanf("");
    }
}

int draw(const DrawTask& task) {
    if (task.head->n_layers < 1) return bad_specification;
    if (task.n_sources == 0) return done;
    const Head head(*task.head);
    DrawWork work = {task, head, TaskQueue(task.n_sources)};
    run_on_threads(task.n_threads < task.n_sources ? task.n_threads : static_cast<int>(task.n_sources), draw_on_one_thread, &work);
    return work.queue.failed() ? out_of_memory : done;
}

struct StatisticsWork {
    const StatisticsTask& task;
    TaskQueue queue;
};

void statistics_on_one_thread(void* context) {
    StatisticsWork& work = *static_cast<StatisticsWork*>(context);
    Scratch scratch(SourceStatistics::scratch_bytes(work.task));
    if (scratch.failed()) return work.queue.fail();
    for (std::int64_t source; work.queue.next(source);) {
        scratch.reset();
        SourceStatistics(work.task, scratch).find(source);
    }
}

int statistics(const StatisticsTask& task) {
    if (task.n_members < 1 || task.n_draws < std::uint32_t(task.n_members) || task.n_draws > most_counted_draws ||
        task.n_ranks > most_ranks) {
        return bad_specification;
    }
    for (int member = 0; member < task.n_members; ++member) {
        if (task.heads[member]->n_layers < 1) return bad_specification;
    }
    if (task.n_sources == 0) return done;
    StatisticsWork work = {task, TaskQueue(task.n_sources)};
    run_on_threads(task.n_threads < task.n_sources ? task.n_threads : static_cast<int>(task.n_sources), statistics_on_one_thread,
                   &work);
    return work.queue.failed() ? out_of_memory : done;
}

constexpr Kernels kernels = {features, draw, statistics};

}  // namespace
}  // namespace SURVEYFLOW_ISA

const Kernels* SURVEYFLOW_KERNELS() { return &SURVEYFLOW_ISA::kernels; }
