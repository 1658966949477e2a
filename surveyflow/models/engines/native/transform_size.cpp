#include "transform_size.hpp"

#include <cmath>

namespace {

// The greatest radix that leaves more than a lone factor of 2, if there is one: 16 = 4 x 4 rather than 8 x 2.
int next_radix(int left, bool first) {
    constexpr int radices[] = {8, 6, 5, 4, 3, 2};
    int fallback = 0;
    for (int radix : radices) {
        if (left % radix != 0 || (first && left == radix)) continue;
        if (left / radix != 2) return radix;
        if (fallback == 0) fallback = radix;
    }
    return fallback;
}

}  // namespace

bool plan_transform(int points, TransformSize& size) {
    if (points < 4 || points > TransformSize::most_points || points % 2 != 0) return false;
    size.points = points;
    size.n_passes = 0;
    for (int left = points; left > 1;) {
        const int radix = next_radix(left, left == points);
        if (radix == 0) return false;
        size.radix[size.n_passes++] = radix;
        left /= radix;
    }
    for (int k = 0; k < points; ++k) {
        const double angle = 2.0 * 3.14159265358979323846 * k / points;
        size.cosine[k] = static_cast<float>(std::cos(angle));
        size.sine[k] = static_cast<float>(std::sin(angle));
    }
    return true;
}
