#include "parallel.hpp"

#include <pthread.h>

namespace {

constexpr int most_threads = 256;

struct Work {
    void (*function)(void*);
    void* context;
};

void* start(void* argument) {
    const Work* work = static_cast<const Work*>(argument);
    work->function(work->context);
    return nullptr;
}

}  // namespace

void run_on_threads(int n_threads, void (*function)(void*), void* context) {
    pthread_t threads[most_threads];
    Work work{function, context};
    int n_started = 0;
    // It is not an error if a thread cannot be started: the others do its share.
    while (n_started + 1 < n_threads && n_started < most_threads &&
           pthread_create(&threads[n_started], nullptr, start, &work) == 0) {
        ++n_started;
    }
    function(context);
    for (int i = 0; i < n_started; ++i) pthread_join(threads[i], nullptr);
}
