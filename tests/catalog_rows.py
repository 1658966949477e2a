"""Catalog rows made of a seed, for tests that need many and do not care which."""

import numpy as np

from surveyflow.catalog.schema import build_rows, healpix_29
from surveyflow.stats.posterior import HISTOGRAM_BINS, summarise
from surveyflow.values.codes import Status

STATUSES = (Status.OK, Status.OK, Status.OK, Status.NO_REDSHIFT, Status.BAD_PIXELS, Status.OFF_MOSAIC)


def make_rows(n_rows, field="EGS", seed=0, first_id=1, centre_deg=(214.8, 52.8), radius_deg=0.1, origin="untrained"):
    """Rows with a mixture of statuses, about a point of the sky."""
    rng = np.random.default_rng([seed, first_id])
    ra = centre_deg[0] + rng.uniform(-radius_deg, radius_deg, n_rows)
    dec = centre_deg[1] + rng.uniform(-radius_deg, radius_deg, n_rows)
    status = rng.choice([word.value for word in STATUSES], n_rows)
    ok = status == Status.OK.value
    draws = rng.uniform(0, 1, (n_rows, 20, 2)).astype(np.float32)
    results = {
        "model_id": np.full(n_rows, f"merger/{field}/F814W@0123456789ab"),
        "weights_origin": np.full(n_rows, origin),
        "n_draws": np.full(n_rows, 20),
        "n_members": np.full(n_rows, 1),
        "seed": np.full(n_rows, 7),
        **summarise(draws).columns(),
    }
    return build_rows(
        {
            "_healpix_29": healpix_29(ra, dec),
            "field": field,
            "source_id": np.arange(first_id, first_id + n_rows),
            "ra": ra,
            "dec": dec,
            "redshift": np.where(status == Status.NO_REDSHIFT.value, np.nan, rng.uniform(0.5, 1.5, n_rows)),
            "status": status,
            "flags": rng.integers(0, 256, n_rows),
            "unit_key": "0" * 64,
        }
        | {name: masked(values, ok) for name, values in results.items()},
        n_rows,
    )


def masked(values, keep):
    """The values, masked where they are not to be kept."""
    rows = keep.reshape(-1, *[1] * (values.ndim - 1))
    return np.ma.masked_array(values, mask=np.broadcast_to(~rows, values.shape))


def empty_histogram_items(n_rows):
    """A histogram column without counts."""
    return np.ma.masked_all((n_rows, HISTOGRAM_BINS), np.uint16)


class Table:
    """A source of rows in memory that counts how often it is read."""

    def __init__(self, table):
        self.table, self.n_reads = table, 0

    def cells(self):
        return self.table["_healpix_29"].to_numpy()

    def rows(self):
        self.n_reads += 1
        return self.table
