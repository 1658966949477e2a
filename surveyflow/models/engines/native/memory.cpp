#include "memory.hpp"

#include <pthread.h>

#include <cstdlib>
#include <sys/mman.h>

namespace {

constexpr std::size_t huge_page = std::size_t(2) << 20;
constexpr int most_kept = 256;  // one for each thread that computes

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
Memory kept[most_kept];
int n_kept = 0;

struct Locked {
    Locked() { pthread_mutex_lock(&lock); }
    ~Locked() { pthread_mutex_unlock(&lock); }
};

Memory allocated(std::size_t n_bytes) {
    const std::size_t alignment = n_bytes >= huge_page ? huge_page : 64;
    const std::size_t size = (n_bytes + alignment) / alignment * alignment;
    char* const start = static_cast<char*>(std::aligned_alloc(alignment, size));
#ifdef MADV_HUGEPAGE
    if (start && alignment == huge_page) madvise(start, size, MADV_HUGEPAGE);
#endif
    return {start, size};
}

Memory taken_out(int place) {
    const Memory memory = kept[place];
    kept[place] = kept[--n_kept];
    return memory;
}

// The place of kept memory that is at least as large as `size`, or else of some that is smaller; -1 if there is none.
int place_of(std::size_t size, bool larger) {
    for (int i = n_kept - 1; i >= 0; --i) {
        if (larger ? kept[i].size >= size : kept[i].size < size) return i;
    }
    return -1;
}

}  // namespace

Memory borrow_memory(std::size_t n_bytes) {
    {
        const Locked locked;
        const int place = place_of(n_bytes, true);
        if (place >= 0) return taken_out(place);
    }
    return allocated(n_bytes);
}

void give_back_memory(Memory memory) {
    Memory superfluous = memory;
    if (memory.start != nullptr) {
        const Locked locked;
        const int smaller = place_of(memory.size, false);  // a model that needs less can use the larger one, too
        superfluous = smaller >= 0 ? taken_out(smaller) : Memory{nullptr, 0};
        if (n_kept < most_kept) kept[n_kept++] = memory;
        else superfluous = memory;
    }
    std::free(superfluous.start);
}
