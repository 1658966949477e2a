// Scratch memory: aligned to cache lines, on huge pages where it is large, freed with its owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>

class Scratch {
public:
    explicit Scratch(std::size_t n_bytes) {
        constexpr std::size_t huge_page = std::size_t(2) << 20;
        const std::size_t alignment = n_bytes >= huge_page ? huge_page : 64;
        size_ = (n_bytes + alignment - 1) / alignment * alignment;
        memory_ = static_cast<char*>(std::aligned_alloc(alignment, size_ ? size_ : alignment));
#ifdef MADV_HUGEPAGE
        if (memory_ && alignment == huge_page) madvise(memory_, size_, MADV_HUGEPAGE);
#endif
    }
    ~Scratch() { std::free(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    bool failed() const { return memory_ == nullptr; }

    void reset() { used_ = 0; }

    // Gives back everything that was taken since `used` returned this number.
    std::size_t used() const { return used_; }
    void return_to(std::size_t used) { used_ = used; }

    // The next `count` values, on a cache line of their own.
    template <class Value>
    Value* take(std::size_t count) {
        Value* taken = reinterpret_cast<Value*>(memory_ + used_);
        used_ += rounded(count * sizeof(Value));
        return taken;
    }

    static std::size_t rounded(std::size_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

private:
    char* memory_;
    std::size_t size_ = 0, used_ = 0;
};
