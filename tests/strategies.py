"""Hypothesis strategies for positions, images and windows."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from surveyflow.values.images import Window


@st.composite
def coordinates(draw, length, beyond=20):
    """A coordinate along an axis of ``length`` pixels or a little outside: anywhere, and at the places where rounding decides."""
    whole = draw(st.integers(-beyond, length + beyond))
    place = float(whole) + draw(st.sampled_from([0.0, 0.5, -0.5]))
    nudged = st.sampled_from([place, np.nextafter(place, -np.inf), np.nextafter(place, np.inf)])
    return float(draw(nudged | st.floats(-beyond, length + beyond)))


@st.composite
def positions(draw, shape, max_size=8, beyond=20):
    """x and y of some sources on or near a mosaic of this shape."""
    n = draw(st.integers(1, max_size))
    x = [draw(coordinates(shape[1], beyond)) for _ in range(n)]
    y = [draw(coordinates(shape[0], beyond)) for _ in range(n)]
    return np.array(x), np.array(y)


@st.composite
def images(draw, max_side=60):
    """A small float32 image in which some pixels are NaN and some 0."""
    shape = draw(st.tuples(st.integers(1, max_side), st.integers(1, max_side)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.normal(size=shape).astype(np.float32)
    image[rng.random(shape) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    image[rng.random(shape) < draw(st.sampled_from([0.0, 0.2]))] = 0
    return image


def window_of(image, box=None, weight=None):
    """The window of a box of an image, as a reader would make it."""
    y0, y1, x0, x1 = (0, image.shape[0], 0, image.shape[1]) if box is None else (box.y0, box.y1, box.x0, box.x1)
    valid = np.isfinite(image) & ((image != 0) if weight is None else (weight > 0) & np.isfinite(weight))
    part = (slice(y0, y1), slice(x0, x1))
    return Window(np.ascontiguousarray(image[part]), valid[part], None if weight is None else weight[part], (y0, x0), image.shape)
