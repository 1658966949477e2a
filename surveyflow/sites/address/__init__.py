"""The kind ``address``: a Dask cluster that somebody else runs."""
