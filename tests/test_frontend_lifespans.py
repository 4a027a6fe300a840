"""Buffers with lifespans become a program whose tensors live as long as the buffers."""

import numpy as np

from tierplan.frontend.buffers import read_buffers
from tierplan.frontend.lifespans import graph_of_buffers
from tierplan.hardware.load import load_machine
from tierplan.sim.lowering import lower

TABLE = "id,lower,upper,size\na,0,10,100\nb,10,30,200\nc,5,6,50\nd,9,31,70\n"


def test_each_buffer_is_written_when_it_begins_and_read_when_it_ends() -> None:
    graph = graph_of_buffers(read_buffers(TABLE, "table"), "table")
    moments = [int(op.name.removeprefix("t=")) for op in graph.ops]
    assert moments == sorted({0, 9, 10, 29, 5, 30})
    written = {a.tensor: moments[t] for t, op in enumerate(graph.ops) for a in op.writes}
    read = {a.tensor: moments[t] for t, op in enumerate(graph.ops) for a in op.reads}
    assert written == {"a": 0, "b": 10, "c": 5, "d": 9}
    assert read == {"a": 9, "b": 29, "d": 30}  # c begins and ends at one moment


def test_two_buffers_overlap_in_the_problem_iff_their_lifespans_do() -> None:
    buffers = read_buffers(TABLE, "table")
    problem = lower(graph_of_buffers(buffers, "table"), load_machine("tpu-v4i"))
    start, stop = problem.lifespans()
    for i, first in enumerate(buffers.ids):
        for j, second in enumerate(buffers.ids):
            p, q = problem.tensor_names.index(first), problem.tensor_names.index(second)
            together = buffers.start[i] < buffers.stop[j] and buffers.start[j] < buffers.stop[i]
            assert (start[p] < stop[q] and start[q] < stop[p]) == together
    assert np.array_equal(np.sort(problem.size), np.sort(buffers.size))
