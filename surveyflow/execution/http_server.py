"""The preload of schedulers and workers: their HTTP servers accept only clients with the cluster's certificates.

Dask serves its dashboard, metrics and logs to whoever connects, even if all else is encrypted. It imports this module in each
process as it starts (``--preload``).
"""

from __future__ import annotations

from distributed import Scheduler, Worker


async def dask_setup(server: Scheduler | Worker) -> None:
    """Require certificates from now on, also from clients that connected before; nothing changes in a cluster without any."""
    role = "scheduler" if isinstance(server, Scheduler) else "worker"
    if (context := server.security.get_listen_args(role)["ssl_context"]) is not None:
        server.http_server.ssl_options = context
        await server.http_server.close_all_connections()
