"""A server under a closed loop, against closed forms and against counting its steps one by one."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.ir.errors import InvalidInputError
from tierplan.sim.closed_loop import Load, serve

SOON = 1e-9  # the front end takes no time to speak of


@dataclass(frozen=True)
class Constant:
    """Steps of constant time, and so much more for each token that is read."""

    step_s: float = 1.0
    token_s: float = 0.0

    def decode_s(self, writing, position):
        assert writing > 0
        return self.step_s

    def mixed_s(self, chunks, writing, position):
        assert all(start < stop for start, stop in chunks)
        return self.step_s + self.token_s * sum(stop - start for start, stop in chunks)


def test_one_client_reads_and_then_writes():
    served = serve(Load(1, prompt=100, new=11, requests=1, front_s=SOON), Constant(1.0, 0.1))
    assert served.first_s == pytest.approx(11.0)
    assert served.token_s == pytest.approx(1.0)
    assert served.total_s == pytest.approx(21.0)


def test_a_next_prompt_misses_the_step_that_begins_as_it_is_sent():
    served = serve(Load(1, prompt=100, new=11, requests=3, front_s=SOON), Constant(1.0, 0.1))
    assert served.first_s == pytest.approx(11.0)  # nothing else is written: no step to wait for
    two = serve(Load(2, prompt=100, new=11, requests=4, front_s=SOON), Constant(1.0, 0.0))
    # the first is read in 1 s, the second arrives during that step, the next two wait one step each
    assert two.first_s == pytest.approx((1 + 2 + 2 + 2) / 4)


def test_prompts_of_others_delay_the_tokens_of_one():
    served = serve(Load(2, prompt=50, new=101, requests=2, step_tokens=51, front_s=SOON), Constant(1.0, 0.1))
    # while the second is read, the first writes one token: that step takes 5 s longer
    assert served.token_s == pytest.approx((1.0 + 5 / 100 + 1.0) / 2)


def test_a_long_prompt_is_read_in_chunks():
    times = Constant(1.0, 0.0)
    assert serve(
        Load(1, prompt=1000, new=1, requests=1, step_tokens=100, front_s=SOON), times
    ).first_s == pytest.approx(10.0)
    assert serve(
        Load(1, prompt=1000, new=1, requests=1, step_tokens=1000, front_s=SOON), times
    ).first_s == pytest.approx(1.0)


def test_a_prompt_waits_for_room_in_the_cache():
    times = Constant(1.0, 0.0)
    both = serve(Load(2, prompt=10, new=20, requests=2, positions=60, front_s=SOON), times)
    one = serve(Load(2, prompt=10, new=20, requests=2, positions=59, front_s=SOON), times)
    assert (both.first_s, both.total_s) == (pytest.approx((1 + 2) / 2), pytest.approx(21.0))
    assert (one.first_s, one.total_s) == (pytest.approx((1 + 21) / 2), pytest.approx(40.0))
    with pytest.raises(InvalidInputError, match="the cache holds 29 positions; one sequence of 10 and 20 does not fit"):
        Load(2, prompt=10, new=20, requests=2, positions=29)


def test_the_front_end_takes_requests_one_after_another():
    served = serve(Load(3, prompt=10, new=1, requests=3, front_s=5.0), Constant(1.0, 0.0))
    assert served.first_s == pytest.approx((6 + 11 + 16) / 3)


def test_a_request_on_its_way_keeps_no_other_one_waiting():
    served = serve(Load(3, prompt=10, new=1, requests=3, front_s=SOON, way_s=5.0), Constant(1.0, 0.0))
    assert served.first_s == pytest.approx((6 + 7 + 7) / 3)  # two arrive as the first one's step has begun
    with pytest.raises(InvalidInputError, match="a request is -1 s on its way; need 0 or more"):
        Load(1, prompt=1, new=1, requests=1, way_s=-1)


def test_a_server_that_reads_first_writes_nothing_beside():
    times = Constant(1.0, 0.1)
    load = Load(2, prompt=50, new=101, requests=2, step_tokens=50, front_s=SOON, reads_first=True)
    served = serve(load, times)
    # the first waits 6 s while the second is read; both then write 100 tokens in as many steps, and end together
    assert served.first_s == pytest.approx((6 + 12) / 2)
    assert served.token_s == pytest.approx((106 / 100 + 100 / 100) / 2)
    assert served.total_s == pytest.approx(112)


@dataclass
class Counting:
    """Counts tokens, one step at a time."""

    read: int = 0
    written: int = 0
    most: int = 0

    def decode_s(self, writing, position):
        self.most = max(self.most, writing)
        return 1.0

    def mixed_s(self, chunks, writing, position):
        self.read += sum(stop - start for start, stop in chunks)
        self.most = max(self.most, writing + len(chunks))
        return 1.0


@given(
    st.integers(1, 6), st.integers(1, 60), st.integers(1, 40), st.integers(1, 12), st.integers(8, 64), st.floats(0.5, 1)
)
@settings(deadline=None, max_examples=60)
def test_all_is_read_once_and_no_more_clients_are_served_than_there_are(clients, prompt, new, requests, room, shortest):
    times = Counting()
    load = Load(clients, prompt, new, requests, step_tokens=room, shortest=shortest)
    served = serve(load, times)
    assert round(shortest * prompt * 0.98 - 1) * requests <= times.read <= prompt * requests
    assert times.most <= clients
    assert served.total_s >= served.first_s >= 1.0
    assert new == 1 or served.token_s == 0 or served.token_s > 0.999
    assert serve(load, Counting()) == served


@pytest.mark.parametrize(
    "wrong", [{"clients": 0}, {"new": 0}, {"shortest": 0.0}, {"shortest": 1.5}, {"requests": 0}, {"front_s": 0}]
)
def test_impossible_loads_are_refused(wrong):
    with pytest.raises(InvalidInputError):
        Load(**({"clients": 1, "prompt": 1, "new": 1, "requests": 1} | wrong))
