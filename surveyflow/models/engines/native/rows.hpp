// Rows of an image and of its weight map, read from files, digested, and copied in part: see PairedSha256 in native_library.py.
#pragma once

#include <cstdint>

struct RowsTask {
    std::uint32_t* states;         // [image][8]: of the digests, to be carried on
    unsigned char* rests;          // [image][64]: the bytes of the streams that do not fill a block yet
    std::int64_t n_rest;           // their number, for each image
    std::int32_t files[2];         // descriptors
    std::int64_t offsets[2];       // of each image's first pixel in its file, bytes
    std::int64_t n_columns;        // of the images
    std::int64_t y0, y1, x0, x1;   // the rows, and the part of them that is read
    const std::int64_t* tops;      // [part]: first rows and columns, which may lie outside the rows
    const std::int64_t* lefts;
    std::int64_t n_parts;
    std::int64_t height, width;    // of a part
    float* parts[2];               // of each image, [part][row][column]; what lies outside the rows is left as it is
    std::int64_t failed_row;       // where reading failed
    std::int32_t failed_image;
};

constexpr int end_of_file = -1;

// 0; or errno of what failed, or end_of_file. This processor must have instructions for SHA-256: see can_digest.
int digest_rows(RowsTask& task);
