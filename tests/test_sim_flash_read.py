"""Reading from flash: the read model, its fit, over-reading, and reads beside compute."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.hardware.load import load_machine
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Tier
from tierplan.sim.flash import ReadModel, read_bandwidth, read_runs_s, read_s
from tierplan.sim.flash_fit import Fit, ReadPoint, fit_read_model, read_model_of
from tierplan.sim.flash_overread import expected_over_read, over_read
from tierplan.sim.flash_pipeline import overlapped, stage_ends

KIB = 1024

models = st.builds(
    ReadModel,
    latency_s=st.floats(1e-6, 1e-3),
    bandwidth=st.floats(1e8, 1e10),
    cap=st.floats(1e8, 1e10),
    queue_depth=st.integers(1, 64),
    page=st.sampled_from((1, 512, 4096)),
)


@given(models, st.integers(1, 500), st.integers(1, 200_000), st.integers(1, 64))
@settings(deadline=None)
def test_more_of_anything_takes_no_less_time(model: ReadModel, n: int, chunk: int, threads: int) -> None:
    time_s = read_s(model, n, chunk, threads)
    assert time_s <= read_s(model, n + 1, chunk, threads)
    assert time_s <= read_s(model, n, chunk + 1, threads)
    assert time_s >= read_s(model, n, chunk, threads + 1)
    assert time_s >= model.latency_s + n * chunk / min(model.cap, model.bandwidth) * (1 - 1e-12) - model.latency_s


@given(models, st.integers(1, 200_000), st.integers(1, 64))
@settings(deadline=None)
def test_long_runs_reach_the_bandwidth(model: ReadModel, chunk: int, threads: int) -> None:
    n = 64_000 * model.in_flight(threads)
    assert n * chunk / read_s(model, n, chunk, threads) == pytest.approx(
        read_bandwidth(model, chunk, threads), rel=1e-3
    )
    assert read_bandwidth(model, chunk, threads) <= model.cap * (1 + 1e-12)


def test_first_byte_waits_for_the_latency_and_pages_are_whole() -> None:
    drive = ReadModel(1e-4, 4e9, 2e9, queue_depth=4, page=4096)
    assert read_s(drive, 1, 1, 1) == pytest.approx(1e-4 + 4096 / 2e9)
    assert read_s(drive, 8, 4096, 4) == pytest.approx(2e-4 + 8 * 4096 / 4e9)
    assert read_bandwidth(drive, 2048, 4) == pytest.approx(read_bandwidth(drive, 4096, 4) / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1.0, 1e9, 1e9), "latency"),
        ((float("nan"), 1e9, 1e9), "latency"),
        ((0.0, 0.0, 1e9), "read bandwidth"),
        ((0.0, 1e9, float("inf")), "cap"),
        ((0.0, 1e9, 1e9, 0), "queue depth"),
        ((0.0, 1e9, 1e9, 1, 0), "page"),
    ],
)
def test_nonsense_constants_are_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ReadModel(*arguments)  # type: ignore[arg-type]


def test_nonsense_reads_are_refused() -> None:
    drive = ReadModel(1e-4, 1e9, 1e9)
    for call in (
        lambda: read_s(drive, -1, 4096, 1),
        lambda: read_s(drive, 1, 0, 1),
        lambda: read_s(drive, 1, 4096, 0),
        lambda: read_runs_s(drive, 2, 1, 1),
    ):
        with pytest.raises(InvalidInputError):
            call()


def points_of(model: ReadModel, chunks: tuple[int, ...], threads: tuple[int, ...]) -> list[ReadPoint]:
    return [ReadPoint(c, t, read_bandwidth(model, c, t)) for c, t in itertools.product(chunks, threads)]


@given(st.floats(2e-5, 5e-4), st.floats(3e9, 3e10), st.floats(0.3, 0.9), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_fit_recovers_the_model_from_noisy_points(latency: float, bandwidth: float, cap: float, seed: int) -> None:
    model = ReadModel(latency, bandwidth, cap * bandwidth, queue_depth=32)
    exact = points_of(model, (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB, 4096 * KIB), (1, 8, 32))
    noise = np.random.default_rng(seed).uniform(0.985, 1.015, len(exact))
    noisy = [ReadPoint(p.chunk, p.threads, p.throughput * float(n)) for p, n in zip(exact, noise, strict=True)]
    fit = fit_read_model(noisy)
    assert fit.worst < 0.04
    for point in exact:
        assert read_bandwidth(fit.model, point.chunk, point.threads) == pytest.approx(point.throughput, rel=0.035)


def test_fit_is_exact_on_exact_points_and_one_wrong_point_hardly_moves_it() -> None:
    model = ReadModel(1e-4, 8e9, 5e9, queue_depth=32)
    points = points_of(model, (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB), (4, 32))
    fit = fit_read_model(points)
    assert fit.worst < 1e-9
    assert (fit.model.latency_s, fit.model.cap) == (pytest.approx(1e-4), pytest.approx(5e9))
    low = min(points, key=lambda point: point.throughput)
    wrong = [ReadPoint(p.chunk, p.threads, p.throughput * (0.8 if p is low else 1.0)) for p in points]
    moved = fit_read_model(wrong).model
    assert moved.latency_s == pytest.approx(1e-4, rel=0.02)
    assert moved.bandwidth == pytest.approx(8e9, rel=0.05)


def test_fit_without_a_plateau_takes_the_bandwidth_as_cap() -> None:
    model = ReadModel(1e-4, 8e9, 8e9, queue_depth=32)
    fit = fit_read_model(points_of(model, (4 * KIB, 16 * KIB, 64 * KIB), (32,)))
    assert fit.model.cap == pytest.approx(8e9)


@pytest.mark.parametrize(
    ("points", "cap", "message"),
    [
        ([], None, "0 read points"),
        ([(4096, 1, 1e8), (8192, 1, 2e8)], None, "2 are enough if the cap"),
        ([(4096, 1, 1e8)], 1e9, "1 read points"),
        ([(4096, 1, 1e8), (4096, 1, 1e8), (4096, 1, 1e8)], None, "do not tell latency from bandwidth"),
        ([(4096, 1, 2e8), (8192, 1, 1e8), (16384, 1, 3e8)], None, "must not fall"),
        ([(4096, 1, 2e8), (4096, 8, 1e8), (16384, 8, 3e8)], None, "must not fall"),
        ([(4096, 1, 1e8), (8192, 1, 2e8)], 0.0, "cap"),
    ],
)
def test_points_that_say_nothing_are_refused(
    points: list[tuple[int, int, float]], cap: float | None, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        fit_read_model([ReadPoint(*point) for point in points], cap)


@pytest.mark.parametrize("point", [(0, 1, 1e9), (4096, 0, 1e9), (4096, 1, 0.0), (4096, 1, float("nan"))])
def test_nonsense_points_are_refused(point: tuple[int, int, float]) -> None:
    with pytest.raises(InvalidInputError):
        ReadPoint(*point)


def test_hardware_files_give_read_models() -> None:
    model = read_model_of(load_machine("m1-max").tiers[-1])
    assert read_bandwidth(model, 8 * KIB, 32) == pytest.approx(1.25e9, rel=2e-3)
    assert read_bandwidth(model, 32 * KIB, 32) == pytest.approx(3.75e9, rel=2e-3)
    assert read_bandwidth(model, 2**20, 32) == pytest.approx(6.1e9)
    pc = read_model_of(load_machine("rtx4090-pc").tiers[-1], page=4096)
    assert read_bandwidth(pc, 4 * KIB, 32) == pytest.approx(2.88e9, rel=0.01)
    plain = read_model_of(Tier("disk", 10**12, 3e9, 3e9, latency_s=1e-4, queue_depth=8))
    assert plain == ReadModel(1e-4, 3e9, 3e9, 8)


def test_worst_is_the_largest_residual() -> None:
    assert Fit(ReadModel(1e-4, 1e9, 1e9), (0.01, -0.03)).worst == 0.03


def slow_over_read(model: ReadModel, wanted: tuple[int, ...], chunk: int, threads: int) -> float:
    """Every way to cut the wanted chunks into runs."""
    best = float("inf")
    for cuts in itertools.product((False, True), repeat=len(wanted) - 1):
        runs = [[wanted[0], wanted[0]]]
        for index, cut in zip(wanted[1:], cuts, strict=True):
            if cut:
                runs.append([index, index])
            else:
                runs[-1][1] = index
        n_chunks = sum(last - first + 1 for first, last in runs)
        best = min(best, read_runs_s(model, len(runs), n_chunks * model.padded(chunk), threads))
    return best


@given(models, st.sets(st.integers(0, 60), min_size=1, max_size=6), st.integers(1, 50_000), st.integers(1, 8))
@settings(deadline=None)
def test_over_reading_is_optimal(model: ReadModel, wanted: set[int], chunk: int, threads: int) -> None:
    ordered = tuple(sorted(wanted))
    found = over_read(model, np.array(ordered), chunk, threads)
    assert found.time_s == pytest.approx(slow_over_read(model, ordered, chunk, threads))
    exact = over_read(model, np.array(ordered), chunk, threads, most_gap=0)
    assert exact.time_s >= found.time_s
    assert exact.moved == len(ordered) * model.padded(chunk)


def test_over_reading_pays_where_latency_dominates() -> None:
    slow_start = ReadModel(1e-2, 1e9, 1e9)
    found = over_read(slow_start, np.array([0, 5, 10]), 4096, 1)
    assert (found.n_reads, found.gap, found.overhead) == (1, 4, pytest.approx(11 / 3 - 1))
    quick_start = ReadModel(1e-9, 1e9, 1e9)
    assert over_read(quick_start, np.array([0, 5, 10]), 4096, 1).overhead == 0.0


def test_over_reading_refuses_unsorted_indices() -> None:
    for indices in ([3, 1], [1, 1], [-1, 2]):
        with pytest.raises(InvalidInputError, match="rising"):
            over_read(ReadModel(1e-4, 1e9, 1e9), np.array(indices), 4096, 1)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("gap", [0, 2, 10])
def test_expected_over_reading_is_that_of_random_chunks(share: float, gap: int) -> None:
    model = ReadModel(1e-4, 4e9, 4e9)
    n = 200_000
    wanted = np.flatnonzero(np.random.default_rng(1).random(n) < share)
    gaps = np.diff(wanted) - 1
    ours = expected_over_read(model, n, share, 4096, 1, gap)
    assert ours.n_reads == pytest.approx(1 + (gaps > gap).sum(), rel=0.05)
    assert ours.moved / 4096 == pytest.approx(len(wanted) + gaps[gaps <= gap].sum(), rel=0.03)


def test_expected_over_reading_refuses_bad_shares() -> None:
    with pytest.raises(InvalidInputError, match="share"):
        expected_over_read(ReadModel(1e-4, 1e9, 1e9), 10, 1.5, 4096, 1, 0)


times = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=8)


def slow_stage_ends(read_s: list[float], compute_s: list[float], ahead: int) -> list[float]:
    """The definition, stage by stage, by recursion."""

    def begin(stage: int) -> float:
        return max(read_end(stage), end(stage - 1))

    def end(stage: int) -> float:
        return 0.0 if stage < 0 else begin(stage) + compute_s[stage]

    def read_end(stage: int) -> float:
        if stage < 0:
            return 0.0
        trigger = end(stage - 1) if ahead == 0 else (begin(stage - ahead) if stage >= ahead else 0.0)
        return max(read_end(stage - 1), trigger) + read_s[stage]

    return [end(stage) for stage in range(len(read_s))]


@given(times, st.integers(0, 4))
@settings(deadline=None)
def test_overlap_is_what_its_definition_says(stages: list[tuple[float, float]], ahead: int) -> None:
    read, work = [r for r, _ in stages], [c for _, c in stages]
    assert stage_ends(read, work, ahead) == pytest.approx(slow_stage_ends(read, work, ahead))
    total = overlapped(read, work, ahead).total_s
    assert overlapped(read, work, ahead + 1).total_s <= total + 1e-9
    assert max(sum(read), sum(work)) <= total + 1e-9
    assert total <= sum(read) + sum(work) + 1e-9
    if ahead == 0:
        assert total == pytest.approx(sum(read) + sum(work))


@pytest.mark.parametrize(("read", "work", "ahead"), [([1.0], [], 0), ([1.0], [1.0], -1), ([-1.0], [1.0], 0)])
def test_bad_stages_are_refused(read: list[float], work: list[float], ahead: int) -> None:
    with pytest.raises(InvalidInputError):
        stage_ends(read, work, ahead)
