// Squares of pixels out of an uncompressed FITS image in a file: see StampCopier in values/images.py.
#pragma once

#include <cstdint>

struct StampsTask {
    const std::int64_t* tops;    // [stamp]: first rows and columns, which may lie outside the image
    const std::int64_t* lefts;
    std::int64_t n_stamps;
    std::int64_t size;           // rows and columns of a stamp
    std::int64_t offset;         // of the image's first pixel in the file, bytes
    std::int64_t n_rows;         // of the image
    std::int64_t n_columns;
    float* pixels;               // [stamp][row][column]; 0 beyond the image
    std::int32_t file;           // descriptor
    std::int32_t n_threads;
};

// False if a row is not in the page cache, or the file system cannot tell, or the file ends before it.
bool copy_stamps(const StampsTask& task);
