"""Source lists as a release has them."""

from __future__ import annotations

import numpy as np
from astropy.table import Table


def test_the_cosmos_list_is_a_fits_table_with_nan_and_the_odd_sentinel(survey_folder):
    table, truth = Table.read(survey_folder.source_list("COSMOS")), survey_folder.truth.query("field == 'COSMOS'")
    np.testing.assert_array_equal(table["ID"], truth.source_id)
    np.testing.assert_array_equal(table["RA"], truth.ra_deg)
    np.testing.assert_array_equal(np.asarray(table["zbest"])[truth.redshift.notna()], truth.redshift.dropna())
    missing = np.asarray(table["zbest"])[truth.redshift.isna()]
    assert np.isnan(missing).sum() == 1
    assert (missing == -99).sum() == 1


def test_the_egs_list_is_ascii_with_a_sextractor_header_and_loses_no_digit(survey_folder):
    table = Table.read(survey_folder.source_list("EGS"), format="ascii.sextractor")
    truth = survey_folder.truth.query("field == 'EGS'")
    np.testing.assert_array_equal(table["NUMBER"], truth.source_id)
    np.testing.assert_array_equal(table["ALPHA_J2000"], truth.ra_deg)
    np.testing.assert_array_equal(table["DELTA_J2000"], truth.dec_deg)
    np.testing.assert_array_equal(np.asarray(table["z_best"])[truth.redshift.isna()], -99.0)
    assert np.abs(table["RA_Lotz2008"] - table["ALPHA_J2000"]).min() > 1e-4
