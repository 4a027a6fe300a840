"""A sweep on a Ray cluster, of which a node is killed and another joins, gives the rows of one process."""

import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import task_work
from sweep_specs import spec, write_inputs
from test_sweep_run import tables

from tierplan.sweep.run import Where, run_sweep
from tierplan.sweep.spec import parse_spec
from tierplan.tasks.contract import Ended, Job, Task
from tierplan.tasks.open import open_pool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def patiently(start: Callable[[], Any]) -> Any:
    """Start a node; Ray gives one 30 seconds, which a busy machine may need more than once."""
    for _ in range(10):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    return start()


def agent_ports() -> dict[str, int]:
    """Free ports for the agents of a node, which it need then not wait for."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}


def join(cluster: Any) -> Any:
    """Add a node with one CPU."""
    return patiently(lambda: cluster.add_node(num_cpus=1, **agent_ports()))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without CPUs, and two nodes with one each."""
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = {"num_cpus": 0, "include_dashboard": False}
        made = patiently(lambda: Cluster(initialize_head=True, head_node_args=head | agent_ports()))
        nodes = [join(made) for _ in range(2)]
    try:
        yield made, nodes
    finally:
        ray.shutdown()
        made.shutdown()


def test_a_node_is_killed_and_another_joins(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    made, nodes = cluster
    text = spec(seeds=list(range(60)), planners="greedy")  # 360 points
    seen: list[str] = []
    events: dict[int, str] = {}

    def watch(total: int, done: int) -> Callable[[Ended], None]:
        assert (total, done) == (360, 0)

        def tell(ended: Ended) -> None:
            seen.append(ended.key)
            if len(seen) == 60:
                made.remove_node(nodes[0], allow_graceful=False)
                events[len(seen)] = "a node was killed"
            if len(seen) == 120:
                join(made)
                events[len(seen)] = "a node joined"

        return tell

    begin = time.perf_counter()
    found = run_sweep(parse_spec(text, "s.yaml"), Path("ray"), Where(ray=made.address), watch)
    ray_s = time.perf_counter() - begin
    assert len(seen) == len(set(seen)) == len(found) == 360
    assert [(each.index, each.ended.error) for each in found if not each.ended.ok] == []
    assert len(events) == 2
    run_sweep(parse_spec(text, "s.yaml"), Path("one"), Where(1), lambda n, done: lambda ended: None)
    assert tables("ray") == tables("one")
    with open_pool(Job.of(task_work.raylet), ray=made.address) as pool:
        nodes_used = {ended.value for ended in pool.run(Task(str(n), 0.2) for n in range(60))}
    assert len(nodes_used) == 2  # the one that stayed, and the one that joined
    with capsys.disabled():
        print(f"\n360 points on Ray in {ray_s:.1f} s; after {events}; the rows equal those of one process")
