// Compiled once for each instruction set, with its own flags.
#include "kernels.hpp"
#include "medians.hpp"

#include "amounts.hpp"
#include "head.hpp"
#include "statistics.hpp"
#include "stretch.hpp"
#include "trunk.hpp"

namespace SURVEYFLOW_ISA {
namespace {

// Lets up to `n_threads` threads do all tasks of a queue.
int run_all(const TaskQueue& queue, std::int64_t n_tasks, int n_threads, void (*work)(void*), void* context) {
    if (n_tasks > 0) run_on_threads(n_threads < n_tasks ? n_threads : static_cast<int>(n_tasks), work, context);
    return queue.failed() ? out_of_memory : done;
}

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
    if (task.n_threads < 1 || !trunk.plan(*task.trunk)) return bad_specification;
    if (task.n_cutouts == 0) return done;
    const std::int64_t share = (task.n_cutouts + task.n_threads - 1) / task.n_threads;
    const int at_once = static_cast<int>(share < most_cutouts_at_once ? share : most_cutouts_at_once);
    const std::int64_t n_tasks = (task.n_cutouts + at_once - 1) / at_once;
    FeaturesWork work = {task, trunk, at_once, TaskQueue(n_tasks)};
    return run_all(work.queue, n_tasks, task.n_threads, features_on_one_thread, &work);
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
    if (task.n_threads < 1 || task.head->n_layers < 1) return bad_specification;
    const Head head(*task.head);
    DrawWork work = {task, head, TaskQueue(task.n_sources)};
    return run_all(work.queue, task.n_sources, task.n_threads, draw_on_one_thread, &work);
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

template <class Task>
bool is_drawable(const Task& task) {
    if (task.n_threads < 1 || task.n_members < 1 || task.n_draws < std::uint32_t(task.n_members) ||
        task.n_draws > most_counted_draws || task.n_ranks > most_ranks) {
        return false;
    }
    for (int member = 0; member < task.n_members; ++member) {
        if (task.heads[member]->n_layers < 1) return false;
    }
    return true;
}

int statistics(const StatisticsTask& task) {
    if (!is_drawable(task)) return bad_specification;
    StatisticsWork work = {task, TaskQueue(task.n_sources)};
    return run_all(work.queue, task.n_sources, task.n_threads, statistics_on_one_thread, &work);
}

struct AmountsWork {
    const AmountsTask& task;
    TaskQueue queue;
};

void amounts_on_one_thread(void* context) {
    AmountsWork& work = *static_cast<AmountsWork*>(context);
    Scratch scratch(SourceAmounts::scratch_bytes(work.task));
    if (scratch.failed()) return work.queue.fail();
    for (std::int64_t source; work.queue.next(source);) {
        scratch.reset();
        SourceAmounts(work.task, scratch).find(source);
    }
}

bool has_outputs(const AmountsTask& task) {
    for (int i = 0; i < task.n_members * task.n_amounts; ++i) {
        const AmountSpec& amount = task.amounts[i];
        const int n_outputs = Head(*task.heads[i / task.n_amounts]).n_outputs();
        const auto exists = [n_outputs](int output) { return 0 <= output && output < n_outputs; };
        if (!exists(amount.presence) || !exists(amount.location) || !exists(amount.scatter)) return false;
    }
    return true;
}

int amounts(const AmountsTask& task) {
    if (!is_drawable(task) || task.n_amounts < 1 || task.n_amounts > most_amounts || !has_outputs(task)) return bad_specification;
    AmountsWork work = {task, TaskQueue(task.n_sources)};
    return run_all(work.queue, task.n_sources, task.n_threads, amounts_on_one_thread, &work);
}

struct StretchWork {
    const StretchTask& task;
    TaskQueue queue;
};

void stretch_on_one_thread(void* context) {
    StretchWork& work = *static_cast<StretchWork*>(context);
    Scratch scratch(stretch_scratch_bytes(work.task.n_pixels));
    if (scratch.failed()) return work.queue.fail();
    for (std::int64_t cutout; work.queue.next(cutout);) {
        scratch.reset();
        stretch_cutout(work.task, cutout, scratch);
    }
}

int stretch(const StretchTask& task) {
    if (task.n_threads < 1) return bad_specification;
    StretchWork work = {task, TaskQueue(task.n_cutouts)};
    return run_all(work.queue, task.n_cutouts, task.n_threads, stretch_on_one_thread, &work);
}

struct MediansWork {
    const MediansTask& task;
    TaskQueue queue;
};

void medians_on_one_thread(void* context) {
    MediansWork& work = *static_cast<MediansWork*>(context);
    const MediansTask& task = work.task;
    Scratch scratch(MedianFinder::scratch_bytes(task.n_pixels));
    if (scratch.failed()) return work.queue.fail();
    for (std::int64_t image; work.queue.next(image);) {
        scratch.reset();
        task.medians[image] = MedianFinder(task.images + image * task.n_pixels, task.n_pixels, scratch).find();
    }
}

int medians(const MediansTask& task) {
    if (task.n_threads < 1 || task.n_pixels > INT_MAX) return bad_specification;
    MediansWork work = {task, TaskQueue(task.n_images)};
    return run_all(work.queue, task.n_images, task.n_threads, medians_on_one_thread, &work);
}

constexpr Kernels kernels = {features, draw, statistics, amounts, stretch, medians};

}  // namespace
}  // namespace SURVEYFLOW_ISA

const Kernels* SURVEYFLOW_KERNELS() { return &SURVEYFLOW_ISA::kernels; }
