// Independent tasks on a few threads, the calling one among them.
#pragma once

#include <atomic>
#include <cstdint>

// Hands out each task number once. The thread that gets a task is random; the result of the task must not depend on it.
class TaskQueue {
public:
    explicit TaskQueue(std::int64_t n_tasks) : n_tasks_(n_tasks) {}

    // False if all have been handed out.
    bool next(std::int64_t& task) {
        task = taken_.fetch_add(1, std::memory_order_relaxed);
        return task < n_tasks_;
    }

    void fail() { failed_.store(true, std::memory_order_relaxed); }
    bool failed() const { return failed_.load(std::memory_order_relaxed); }

private:
    std::int64_t n_tasks_;
    std::atomic<std::int64_t> taken_{0};
    std::atomic<bool> failed_{false};
};

// Calls `work(context)` on up to `n_threads` threads and waits for all.
void run_on_threads(int n_threads, void (*work)(void*), void* context);
