"""Jobs on workers: in this process or on a Dask cluster."""
