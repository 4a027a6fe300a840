"""`--tp`, `--pp` and `--ep` on the command line."""

import json

import pytest
from test_cli_commands import Run, run

__all__ = ["run"]

QUICK = ("--planner", "greedy")


def answer(run: Run, *words: str):
    ran = run("plan", *words, *QUICK, "--json")
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


def test_one_device_of_two_has_half_of_the_work(run: Run) -> None:
    words = ("gpt2", "-H", "h100", "--batch", "4", "--context", "256")
    one, two = answer(run, *words), answer(run, *words, "--tp", "2")
    assert "parallel" not in one
    told = two["parallel"]
    assert (told["tp"], told["pp"], told["ep"], told["devices"]) == (2, 1, 1, 2)
    assert told["latency_s"] == pytest.approx(two["predicted"]["time_s"])
    assert 0 < told["communication_s"] < told["latency_s"]
    assert told["latency_s"] - told["communication_s"] < one["predicted"]["time_s"]  # a small model talks as long
    weights = {tier["name"]: tier["by_kind"]["weight"] for tier in (one["tiers"][0], two["tiers"][0])}
    assert weights["hbm"] == pytest.approx(told["stages"][0]["weight_bytes"], rel=1e-3)
    share = {limit["what"]: limit["share"] for limit in two["limits"]}
    assert share["interconnect"] == pytest.approx(told["communication_s"] / told["latency_s"])


def test_stages_add_up_and_the_slowest_sets_the_pace(run: Run) -> None:
    told = answer(run, "gpt2", "-H", "h100", "--batch", "4", "--context", "256", "--pp", "3")["parallel"]
    assert [stage["numbers"] for stage in told["stages"]] == [[1], [2], [3]]
    times = [stage["time_s"] for stage in told["stages"]]
    assert told["latency_s"] == pytest.approx(sum(times))
    assert told["tokens_per_s"] == pytest.approx(4 / max(times))
    assert told["communication_s"] == pytest.approx(sum(stage["communication_s"] for stage in told["stages"]))


def test_stages_that_are_alike_are_planned_once(run: Run) -> None:
    told = answer(run, "gpt2", "-H", "h100", "--context", "64", "--pp", "4")["parallel"]
    assert [stage["numbers"] for stage in told["stages"]] == [[1], [2, 3], [4]]
    times = {stage["numbers"][0]: stage["time_s"] for stage in told["stages"]}
    assert told["latency_s"] == pytest.approx(times[1] + 2 * times[2] + times[4])


def test_compare_takes_them_too(run: Run) -> None:
    ran = run("compare", "llama3-8b", "-H", "h100", "--context", "64", "--tp", "4", "--planners", "greedy", "--json")
    assert ran.code == 0
    one = run("compare", "llama3-8b", "-H", "h100", "--context", "64", "--planners", "greedy", "--json")
    of = [json.loads(each.out)["planners"][0]["predicted"]["time_s"] for each in (ran, one)]
    assert of[0] < of[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gpt2", "-H", "h100", "--tp", "5"], "--tp 5 does not divide the 12 heads of 'gpt2'; the nearest are 4 and 6"),
        (["gpt2", "-H", "h100", "--tp", "0"], "--tp is 0; write a whole number from 1 to 4096"),
        (["gpt2", "-H", "h100", "--pp", "13"], "--pp 13: 'gpt2' has 12 layers; write that or fewer"),
        (["gpt2", "-H", "h100", "--ep", "2"], "--ep 2: 'gpt2' has no experts; leave --ep out"),
        (["gpt2", "-H", "laptop", "--tp", "2"], "machine 'laptop' has no 'interconnect' in its hardware file"),
        (["t5-base", "-H", "h100", "--tp", "2"], "'t5-base' has an encoder and a decoder"),
        (["gpt2", "-H", "h100", "--tp", "2", "--fusion", "auto"], "--fusion cannot be combined with --tp"),
        (["mixtral-8x7b", "-H", "h100", "--ep", "2", "--routing", "uniform"], "--routing cannot be combined with --tp"),
        (["gpt2", "-H", "h100", "--tp", "2", "--phase", "serve", "--prompt", "4", "--new", "4"], "--phase serve"),
        (["buffers.csv", "-H", "h100", "--tp", "2"], "--tp means nothing for a list of buffers"),
    ],
)
def test_what_cannot_be_split_is_told(run: Run, words: list[str], message: str) -> None:
    ran = run("plan", *words, *QUICK)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
