// The passes of a transform of a given number of points, with their twiddle factors.
#pragma once

struct TransformSize {
    static constexpr int most_points = 256;

    int points;
    int n_passes;  // at least 2
    int radix[8];
    float cosine[most_points];
    float sine[most_points];
};

// Fills `size`; false unless `points` is even, 4 to `most_points`, and a product of 2, 3 and 5.
bool plan_transform(int points, TransformSize& size);
