"""Cross-matches in LSDB, with our catalog on either side, against a search over all pairs.

    python benchmarks/crossmatch.py make FOLDER [--sources 1000000]
    LSDB_PYTHON benchmarks/crossmatch.py compare FOLDER

The first command publishes an invented catalog and writes a list of other sources: some near ours, some where we have none. The
second runs in an environment with LSDB (``pip install lsdb``), which need not hold surveyflow. It prints one JSON object. Its
exit code is 0 only if both directions found exactly the pairs that there are, LSDB did not warn that its result may be
incomplete, and hats finds the collection valid.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy.spatial import cKDTree

RADIUS_ARCSEC = 2.0
NEIGHBOURS = 50
"""More than any source has within the radius."""
OUR_COLUMNS = ["field", "source_id", "ra", "dec"]
FAULTS = ("missing", "wrong", "twice", "warned_incomplete")
PAIR = ["field", "source_id", "other_id"]


def make(folder, n_sources, tiles_a_side=6):
    """Publish a catalog, and write the list of others."""
    from publishing import write_units

    from surveyflow.releases.publish import publish, read_catalog

    receipts = write_units(folder, n_sources, tiles_a_side)
    publish(folder, "v1.0", receipts, None, {"survey": "benchmark", "created": "2026-11-28T12:00:00Z"})
    others(read_catalog(folder, ["ra", "dec"])).to_parquet(folder / "others.parquet")


def others(ours, seed=2):
    """Sources up to 3 arcsec from half of ours, in every direction, across borders of the field and of cells."""
    rng = np.random.default_rng(seed)
    near = ours.sample(frac=0.5, random_state=seed)
    distance, angle = 3 / 3600 * np.sqrt(rng.random(len(near))), rng.uniform(0, 2 * np.pi, len(near))
    dec = near["dec"] + distance * np.sin(angle)
    ra = near["ra"] + distance * np.cos(angle) / np.cos(np.radians(near["dec"]))
    return pd.DataFrame({"other_id": np.arange(len(near)), "ra": ra.to_numpy(), "dec": dec.to_numpy()})


def compare(folder):
    """Match in both directions and compare with all pairs."""
    import lsdb
    from hats.io.validation import is_valid_catalog

    collection = (folder / "latest" / "collection").resolve()
    listed = pq.read_table(folder / "others.parquet").to_pandas()
    ours = lsdb.open_catalog(collection, columns=OUR_COLUMNS)
    theirs = lsdb.from_dataframe(
        listed, ra_column="ra", dec_column="dec", margin_threshold=5, partition_rows=25_000, highest_order=12
    )
    rows = ours.compute()
    expected = all_pairs(rows, listed)
    result = {"sources": len(rows), "others": len(listed), "partitions": [ours.npartitions, theirs.npartitions]}
    result |= {"pairs": len(expected), "valid": bool(is_valid_catalog(collection, strict=True))}
    for name, left, right in (("ours_left", ours, theirs), ("ours_right", theirs, ours)):
        start = time.perf_counter()
        found, incomplete = matched(left, right)
        result[name] = differences(expected, found) | {"warned_incomplete": incomplete, "seconds": time.perf_counter() - start}
    return result


def matched(left, right):
    """The pairs that LSDB finds, and whether it warns that the result may be incomplete."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = left.crossmatch(
            right,
            radius_arcsec=RADIUS_ARCSEC,
            n_neighbors=NEIGHBOURS,
            suffixes=("", "_right"),
            suffix_method="overlapping_columns",
        ).compute()
    return frame[PAIR], any("incomplete" in str(each.message) for each in caught)


def differences(expected, found):
    """Numbers of pairs that are missing, wrong, or found twice."""
    own, twice = found.astype({"field": str}), int(found.duplicated().sum())
    sides = expected.astype({"field": str}).merge(own, how="outer", on=PAIR, indicator=True)["_merge"].value_counts()
    return {"missing": int(sides["left_only"]), "wrong": int(sides["right_only"]), "twice": twice}


def all_pairs(rows, listed):
    """Every pair within the radius, by a search tree over all sources."""
    chord = 2 * np.sin(np.radians(RADIUS_ARCSEC / 3600) / 2)
    trees = cKDTree(unit_vectors(rows)), cKDTree(unit_vectors(listed))
    near = trees[0].sparse_distance_matrix(trees[1], chord, output_type="coo_matrix")
    ours = rows[["field", "source_id"]].iloc[near.row].reset_index(drop=True)
    return ours.assign(other_id=listed["other_id"].to_numpy()[near.col])


def unit_vectors(frame):
    """(n, 3) directions of positions."""
    ra, dec = np.radians(frame["ra"].to_numpy(float)), np.radians(frame["dec"].to_numpy(float))
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def is_complete(result):
    """Whether both directions found exactly the pairs that there are, without a warning, in a valid collection."""
    faults = [result[side][what] for side in ("ours_left", "ours_right") for what in FAULTS]
    return result["valid"] and not any(faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("step", choices=["make", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.step == "make":
        make(options.folder, options.sources)
        return 0
    logging.disable(logging.WARNING)
    result = compare(options.folder)
    print(json.dumps(result, indent=1))
    return 0 if is_complete(result) else 1


if __name__ == "__main__":
    sys.exit(main())
