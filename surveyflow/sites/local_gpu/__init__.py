"""The kind ``local-gpu``: a worker process for each GPU of this machine."""
