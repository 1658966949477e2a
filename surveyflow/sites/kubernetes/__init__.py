"""The kind ``kubernetes``: pods of the Dask operator for Kubernetes."""
