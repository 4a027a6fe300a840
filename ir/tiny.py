"""The smallest problem with everything in it, for kernels to be compiled with before a clock runs."""

import numpy as np

from tierplan.ir.plan import Plan, Residency
from tierplan.ir.problem import Links, Problem, Tiers


def tiny() -> tuple[Problem, Plan]:
    """Two steps that read a tensor, on two tiers of 64 B with a link each way; and the plan that leaves it there."""

    def floats(*values: float) -> np.ndarray:
        return np.array(values, dtype=np.float64)

    def ints(*values: int) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    tiers = Tiers(
        names=("fast", "slow"), capacity=ints(64, 64), usable=ints(64, 64), alignment=ints(1, 1),
        read_bandwidth=floats(2.0, 1.0), write_bandwidth=floats(2.0, 1.0), latency_s=floats(0.0, 0.0),
        direct=np.array([True, True]), read_link=ints(-1, -1), write_link=ints(-1, -1), read_curve=((), ()),
        read_j=floats(np.nan, np.nan), write_j=floats(np.nan, np.nan),
    )  # fmt: skip
    links = Links(
        names=("up", "down"), source=ints(1, 0), target=ints(0, 1), bandwidth=floats(1.0, 1.0),
        latency_s=floats(0.0, 0.0), channels=ints(1, 1), energy_j=floats(np.nan, np.nan),
    )  # fmt: skip
    problem = Problem(
        name="tiny", tiers=tiers, links=links, step_names=("first", "second"), compute_s=floats(1.0, 1.0),
        compute_j=floats(np.nan, np.nan), access_start=ints(0, 1, 2), access_tensor=ints(0, 0), access_read=ints(4, 4),
        access_write=ints(0, 0), access_mode=ints(0, 0), tensor_names=("x",), tensor_kind=("weight",), size=ints(4),
        home=ints(1), keep=ints(0), cyclic=True,
    )  # fmt: skip
    return problem, Plan((Residency(0, 1, 0, 0, 2),), ())
