"""The dataset of all draws of p_pm, beside the catalog, with one file for each work unit; kept if the workflow asks for it.

``ROOT/releases/v1.0-r2/draws/EGS/F814W/y000x001.parquet`` shares its content with the unit's own file by a hard link, so a
revision's draws take no further space. Rows join the catalog's on (``field``, ``source_id``).
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from surveyflow.catalog.schema import SCHEMA_VERSION
from surveyflow.values.arrays import Float32Array, Int64Array
from surveyflow.values.codes import WeightsOrigin

_DESCRIPTION = "Monte Carlo dropout draws of the probability of being a post-merger"


def build_draws(field: str, source_id: Int64Array, p_pm: Float32Array, origin: WeightsOrigin) -> pa.Table:
    """Make the rows of the dataset of draws.

    Parameters
    ----------
    field
        The sources' field.
    source_id
        (n,) int64.
    p_pm
        (n, n_draws) float32 in [0, 1]: every draw, in the order of drawing.
    origin
        Where the model's weights came from.

    Returns
    -------
    One row for each source: ``field``, ``source_id``, and ``p_pm``, a list of fixed size.
    """
    about = {"schema_version": SCHEMA_VERSION, "weights_origin": [origin.value], "description": _DESCRIPTION}
    columns = {
        "field": pa.array(np.full(len(source_id), field), pa.string()),
        "source_id": pa.array(source_id, pa.int64()),
        "p_pm": pa.FixedSizeListArray.from_arrays(pa.array(p_pm.ravel(), pa.float32()), p_pm.shape[1]),
    }
    metadata = {"surveyflow": json.dumps(about), "table::len::field": str(len(field))}  # astropy wants the strings' length
    return pa.table(columns).replace_schema_metadata(metadata)
