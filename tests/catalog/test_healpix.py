import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from cdshealpix.nested import healpix_to_skycoord
from hypothesis import given
from hypothesis import strategies as st

from surveyflow.catalog.schema import cells_at, healpix_29, span_29

skies = st.lists(st.tuples(st.floats(0, 359.999), st.floats(-90, 90)), min_size=1, max_size=20).map(np.array)


@given(positions=skies)
def test_a_position_lies_at_its_cell_s_centre_within_a_milliarcsecond(positions):
    ra, dec = positions.T
    centres = healpix_to_skycoord(healpix_29(ra, dec).astype(np.uint64), depth=29)
    assert (SkyCoord(ra, dec, unit="deg").separation(centres) < 1 * u.mas).all()


@given(positions=skies, order=st.integers(0, 29))
def test_a_coarser_cell_spans_the_finest_cells_inside(positions, order):
    finest = healpix_29(*positions.T)
    for cell, coarse in zip(finest, cells_at(order, finest), strict=True):
        low, high = span_29(order, int(coarse))
        assert low <= cell < high
        assert high - low == 4 ** (29 - order)


def test_the_twelve_base_cells_are_numbered_as_healpix_does():
    ra, dec = np.arange(45.0, 360, 90), np.full(4, 41.8)
    np.testing.assert_array_equal(cells_at(0, healpix_29(ra, dec)), [0, 1, 2, 3])
    np.testing.assert_array_equal(cells_at(0, healpix_29(ra, -dec)), [8, 9, 10, 11])
    np.testing.assert_array_equal(cells_at(0, healpix_29(ra - 45, dec * 0)), [4, 5, 6, 7])
