// Compiled once, without vector instructions: most of the time goes to the memory of the file.
//
// The file is mapped, because a system call for each row of each stamp would take three times as long. A file that is cut short
// while it is mapped raises SIGBUS in the thread that reads it. For the time of the copying, a handler turns this into a failure.
#include "stamps.hpp"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "parallel.hpp"

namespace {

constexpr int only_from_the_cache = 8;  // RWF_NOWAIT of linux/fs.h

thread_local sigjmp_buf* way_out = nullptr;
struct sigaction before;
int n_watching = 0;
pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void on_bus_error(int, siginfo_t*, void*) {
    if (way_out != nullptr) siglongjmp(*way_out, 1);
    sigaction(SIGBUS, &before, nullptr);  // another's: it happens again on return, and is treated as before
}

// The handler is in place while any thread of the process has one of these.
class BusErrorsWatched {
public:
    BusErrorsWatched() {
        pthread_mutex_lock(&lock);
        if (n_watching++ == 0) {
            struct sigaction action = {};
            action.sa_sigaction = on_bus_error;
            action.sa_flags = SA_SIGINFO;
            sigaction(SIGBUS, &action, &before);
        }
        pthread_mutex_unlock(&lock);
    }
    ~BusErrorsWatched() {
        pthread_mutex_lock(&lock);
        if (--n_watching == 0) sigaction(SIGBUS, &before, nullptr);
        pthread_mutex_unlock(&lock);
    }
};

class Mapping {
public:
    Mapping(int file, std::size_t size) : size_(size) {
        void* const start = mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
        if (start != MAP_FAILED) start_ = static_cast<const char*>(start);
        if (start_ != nullptr) madvise(const_cast<char*>(start_), size, MADV_RANDOM);
    }
    ~Mapping() {
        if (start_ != nullptr) munmap(const_cast<char*>(start_), size_);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    const char* start() const { return start_; }

private:
    const char* start_ = nullptr;
    std::size_t size_;
};

struct Work {
    const StampsTask& task;
    const char* image;
    TaskQueue queue;
};

// Called without libc's preadv2, which glibc has had only since 2.26.
bool is_cached(int file, std::int64_t offset) {
#if defined(__linux__) && defined(SYS_preadv2)
    char byte;
    iovec place{&byte, 1};
    return syscall(SYS_preadv2, file, &place, 1L, long(offset), 0L, only_from_the_cache) == 1;
#else
    return false;
#endif
}

// First a copy, which waits for many cache lines at once.
void copy_row(const char* from, std::int64_t n_pixels, float* to) {
    std::memcpy(to, from, 4 * n_pixels);
    for (std::int64_t i = 0; i < n_pixels; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, to + i, 4);
        bits = __builtin_bswap32(bits);
        std::memcpy(to + i, &bits, 4);
    }
}

std::int64_t clipped(std::int64_t value, std::int64_t end) { return value < 0 ? 0 : value < end ? value : end; }

bool copy_stamp(const Work& work, std::int64_t number) {
    const StampsTask& task = work.task;
    const std::int64_t size = task.size, top = task.tops[number], left = task.lefts[number];
    const std::int64_t y0 = clipped(top, task.n_rows), y1 = clipped(top + size, task.n_rows);
    const std::int64_t x0 = clipped(left, task.n_columns), x1 = clipped(left + size, task.n_columns), width = x1 - x0;
    float* const stamp = task.pixels + number * size * size;
    if (y1 - y0 < size || width < size) std::memset(stamp, 0, 4 * size * size);
    if (width == 0 || y0 == y1) return true;
    const auto place = [&](std::int64_t y) { return 4 * (y * task.n_columns + x0); };
    const std::int64_t probed[] = {y0, (y0 + y1) / 2, y1 - 1};
    for (const std::int64_t y : probed) {
        if (!is_cached(task.file, task.offset + place(y))) return false;
    }
    for (std::int64_t y = y0; y < y1; ++y) copy_row(work.image + place(y), width, stamp + (y - top) * size + (x0 - left));
    return true;
}

void copy_on_one_thread(void* context) {
    Work& work = *static_cast<Work*>(context);
    sigjmp_buf here;
    if (sigsetjmp(here, 1) != 0) {
        way_out = nullptr;
        return work.queue.fail();
    }
    way_out = &here;
    for (std::int64_t number; !work.queue.failed() && work.queue.next(number);) {
        if (!copy_stamp(work, number)) work.queue.fail();
    }
    way_out = nullptr;
}

}  // namespace

bool copy_stamps(const StampsTask& task) {
    if (task.n_stamps == 0) return true;
    const BusErrorsWatched watched;
    const Mapping file(task.file, std::size_t(task.offset + 4 * task.n_rows * task.n_columns));
    if (file.start() == nullptr) return false;
    Work work{task, file.start() + task.offset, TaskQueue(task.n_stamps)};
    run_on_threads(task.n_threads < task.n_stamps ? task.n_threads : static_cast<int>(task.n_stamps), copy_on_one_thread, &work);
    return !work.queue.failed();
}
