"""The models that the jobs of each pool are pinned to."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

from surveyflow.errors import ProfileError
from surveyflow.execution.jobs import listed
from surveyflow.execution.routing import Route, Routing, allot, choose
from surveyflow.sites.slurm.settings import Pool, SlurmSettings


def route_pools(profile: SlurmSettings, work: Mapping[str, int]) -> tuple[SlurmSettings, Route]:
    """Decide how units are routed, and divide the pools accordingly.

    Parameters
    ----------
    profile
        The settings.
    work
        Number of sources of each model group.

    Returns
    -------
    profile
        The settings with ``routing`` decided. If it is ``pinned``, every pool names its models: one that named none is divided
        into several, with jobs in proportion to the work.
    route
        The routing and its reason.

    Raises
    ------
    ProfileError
        If some units would have no worker.
    """
    route = _route(profile, work)
    pools = _divided(profile.pools, work) if route.pinned else profile.pools
    if route.pinned:
        _check_offer(pools, work)
    return profile.model_copy(update={"routing": route.routing, "pools": pools}), route


def _route(profile: SlurmSettings, work: Mapping[str, int]) -> Route:
    if any(pool.models for pool in profile.pools.values()):
        return Route(Routing.PINNED, "pools of the profile name models")
    pools = profile.pools.values()
    return choose(
        profile.routing, work, sum(pool.jobs * pool.n_workers for pool in pools), on_gpu=any(pool.n_gpus for pool in pools)
    )


def _divided(pools: Mapping[str, Pool], work: Mapping[str, int]) -> dict[str, Pool]:
    """The pools, with those that name no models divided into parts that do."""
    divided: dict[str, Pool] = {}
    for name, pool in pools.items():
        divided |= {name: pool} if pool.models or not work else _parts(name, pool, work)
    return divided


def _parts(name: str, pool: Pool, work: Mapping[str, int]) -> dict[str, Pool]:
    parts = Counter(allot(work, pool.jobs))
    names = [groups[0] if len(groups) == 1 else str(number) for number, groups in enumerate(parts, start=1)]
    return {
        f"{name}-{re.sub('[^A-Za-z0-9_]+', '-', part)}": pool.model_copy(
            update={"jobs": n_jobs, "models": groups, "at_once": pool.at_once and math.ceil(pool.at_once * n_jobs / pool.jobs)}
        )
        for part, (groups, n_jobs) in zip(names, parts.items(), strict=True)
    }


def _check_offer(pools: Mapping[str, Pool], work: Mapping[str, int]) -> None:
    """Refuse models that no pool holds, before anything waits in a queue."""
    offered = {group for pool in pools.values() for group in pool.models}
    if missing := work.keys() - offered:
        demanded = listed([f"{group} ({work[group]:,} sources)" for group in missing])
        first = next(iter(pools))
        raise ProfileError(
            f"no pool holds the models of {demanded}; the pools hold {listed(offered)}. Add them to a pool, such as "
            f"[pools.{first}] models = {[*pools[first].models, *sorted(missing)]}; or leave models out of all pools, "
            "and jobs are shared out by the work there is."
        )
