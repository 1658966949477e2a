"""Execution of jobs: in this process or on a Dask cluster."""
