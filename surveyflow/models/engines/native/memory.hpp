// Scratch memory: aligned to cache lines, on huge pages where it is large, kept for the next call.
#pragma once

#include <cstddef>
#include <cstdint>

struct Memory {
    char* start;  // null if there is none
    std::size_t size;
};

// At least `n_bytes`: memory that was given back if some is large enough, otherwise new memory. Its content is undefined.
Memory borrow_memory(std::size_t n_bytes);
void give_back_memory(Memory memory);

class Scratch {
public:
    explicit Scratch(std::size_t n_bytes) : memory_(borrow_memory(n_bytes)) {}
    ~Scratch() { give_back_memory(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    bool failed() const { return memory_.start == nullptr; }

    void reset() { used_ = 0; }

    // Gives back everything that was taken since `used` returned this number.
    std::size_t used() const { return used_; }
    void return_to(std::size_t used) { used_ = used; }

    // The next `count` values, on a cache line of their own.
    template <class Value>
    Value* take(std::size_t count) {
        Value* taken = reinterpret_cast<Value*>(memory_.start + used_);
        used_ += rounded(count * sizeof(Value));
        return taken;
    }

    static std::size_t rounded(std::size_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

private:
    Memory memory_;
    std::size_t used_ = 0;
};
