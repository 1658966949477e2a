// Some rows at a time are read, digested as they are in the file, and copied where they are wanted, while a core caches them.
#include "rows.hpp"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "digests.hpp"

namespace {

constexpr std::int64_t block = 64;
constexpr std::int64_t bytes_at_once = 128 * 1024;  // of each image

class Memory {
public:
    explicit Memory(std::int64_t size) : start_(static_cast<unsigned char*>(std::malloc(std::size_t(size)))) {}
    ~Memory() { std::free(start_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    unsigned char* start() const { return start_; }

private:
    unsigned char* start_;
};

std::uint32_t swapped(const unsigned char* from) {
    std::uint32_t bits;
    std::memcpy(&bits, from, 4);
    return __builtin_bswap32(bits);
}

void copy_swapped(const unsigned char* from, std::int64_t n_pixels, void* to) {
    for (std::int64_t i = 0; i < n_pixels; ++i) {
        const std::uint32_t bits = swapped(from + 4 * i);
        std::memcpy(static_cast<char*>(to) + 4 * i, &bits, 4);
    }
}

// The number of bytes that were read before the file ended, or a negative errno.
std::int64_t read_all(int file, unsigned char* to, std::int64_t n_bytes, std::int64_t offset) {
    std::int64_t done = 0;
    while (done < n_bytes) {
        const ssize_t n = pread(file, to + done, std::size_t(n_bytes - done), off_t(offset + done));
        if (n == 0) break;
        if (n > 0) done += n;
        else if (errno != EINTR) return -errno;
    }
    return done;
}

class Rows {
public:
    Rows(RowsTask& task, unsigned char* memory, std::int64_t most_rows)
        : task_(task), row_bytes_(4 * (task.x1 - task.x0)), streams_{memory, memory + block + most_rows * row_bytes_},
          n_rest_(task.n_rest) {
        for (int image = 0; image < 2; ++image) copy_swapped(task.rests + block * image, n_rest_ / 4, streams_[image]);
    }

    int process(std::int64_t first, std::int64_t end) {
        for (int image = 0; image < 2; ++image) {
            if (const int failure = read(image, first, end)) return failure;
            copy_parts(image, first, end);
        }
        const std::int64_t n_bytes = n_rest_ + (end - first) * row_bytes_, n_blocks = n_bytes / block;
        digest_as_in_files({task_.states, {streams_[0], streams_[1]}, n_blocks});
        n_rest_ = n_bytes - block * n_blocks;
        for (unsigned char* stream : streams_) std::memmove(stream, stream + block * n_blocks, std::size_t(n_rest_));
        return 0;
    }

    void keep_rests() {
        for (int image = 0; image < 2; ++image) copy_swapped(streams_[image], n_rest_ / 4, task_.rests + block * image);
        task_.n_rest = n_rest_;
    }

private:
    // Whole rows lie side by side in the file; of parts of rows, each is read by itself.
    int read(int image, std::int64_t first, std::int64_t end) {
        const std::int64_t step = task_.x1 - task_.x0 == task_.n_columns ? end - first : 1;
        for (std::int64_t row = first; row < end; row += step) {
            unsigned char* const to = streams_[image] + n_rest_ + (row - first) * row_bytes_;
            const std::int64_t offset = task_.offsets[image] + 4 * (row * task_.n_columns + task_.x0);
            const std::int64_t done = read_all(task_.files[image], to, step * row_bytes_, offset);
            if (done == step * row_bytes_) continue;
            task_.failed_image = image;
            task_.failed_row = row + (done > 0 ? done / row_bytes_ : 0);
            return done < 0 ? int(-done) : end_of_file;
        }
        return 0;
    }

    void copy_parts(int image, std::int64_t first, std::int64_t end) const {
        const unsigned char* const rows = streams_[image] + n_rest_;
        for (std::int64_t part = 0; part < task_.n_parts; ++part) {
            const std::int64_t top = task_.tops[part], left = task_.lefts[part];
            const std::int64_t x0 = std::max(left, task_.x0), x1 = std::min(left + task_.width, task_.x1);
            if (x0 >= x1) continue;
            float* const pixels = task_.parts[image] + part * task_.height * task_.width;
            for (std::int64_t y = std::max(top, first); y < std::min(top + task_.height, end); ++y) {
                const unsigned char* const from = rows + (y - first) * row_bytes_ + 4 * (x0 - task_.x0);
                copy_swapped(from, x1 - x0, pixels + (y - top) * task_.width + x0 - left);
            }
        }
    }

    RowsTask& task_;
    std::int64_t row_bytes_;
    unsigned char* streams_[2];  // the rest of the rows before, then the rows at hand
    std::int64_t n_rest_;
};

}  // namespace

int digest_rows(RowsTask& task) {
    if (task.x0 >= task.x1 || task.y0 >= task.y1) return 0;
    const std::int64_t row_bytes = 4 * (task.x1 - task.x0), step = std::max<std::int64_t>(1, bytes_at_once / row_bytes);
    const Memory memory(2 * (block + step * row_bytes));
    if (memory.start() == nullptr) return ENOMEM;
    Rows rows(task, memory.start(), step);
    for (std::int64_t row = task.y0; row < task.y1; row += step) {
        if (const int failure = rows.process(row, std::min(row + step, task.y1))) return failure;
    }
    rows.keep_rests();
    return 0;
}
