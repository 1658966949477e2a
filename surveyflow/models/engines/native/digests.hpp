// SHA-256 (FIPS 180-4) of two streams of bytes at once: see PairedSha256 in native_library.py.
#pragma once

#include <cstdint>

struct DigestsTask {
    std::uint32_t* states;              // [stream][8], to be carried on
    const unsigned char* streams[2];    // their next blocks
    std::int64_t n_blocks;              // of 64 bytes, in each stream
};

// Whether this processor has instructions for SHA-256.
bool can_digest();
void digest(const DigestsTask& task);
// The same of pixels whose bytes come in the opposite order, as in FITS files.
void digest_as_in_files(const DigestsTask& task);
