"""The one way to get a pool: processes of this machine, or workers of a Ray cluster."""

from tierplan.tasks.contract import Job, Pool
from tierplan.tasks.pool import ProcessPool


def open_pool(job: Job, *, workers: int | None = None, ray: str | None = None) -> Pool:
    """Workers for a job; close them, or use `with`.

    Args:
        workers: how many processes; on Ray, at most how many. None: 2, or as many as the cluster has CPUs.
        ray: the address of a Ray cluster; "auto" for the one that runs on this machine; None: no cluster.

    Raises:
        InvalidInputError: fewer than one worker, or a cluster that does not answer.
        MissingDependencyError: Ray is not installed.
    """
    if ray is None:
        return ProcessPool(job, 2 if workers is None else workers)
    from tierplan.tasks.ray_pool import RayPool

    return RayPool(job, ray, workers)
