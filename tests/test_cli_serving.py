"""`plan --routing`, `plan --phase serve` and `tierplan experts`: answers, exit codes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import mixtures
import numpy as np
import pytest
from test_cli_bad_input import refused
from test_cli_commands import HARDWARE, Run, json_of, run

from tierplan.hardware.load import load_machine

__all__ = ["run"]

MIXTURE = ("plan", "mix.json", "-H", "bench.yaml", "--context", "64", "--planner", "greedy")
SERVE = ("plan", "mix.json", "-H", "bench.yaml", "--phase", "serve", "--planner", "greedy")


@pytest.fixture(autouse=True)
def inputs(run: Run) -> None:
    """The mixture of experts, in the folder that `run` makes."""
    Path("mix.json").write_text(json.dumps(mixtures.CONFIG))
    Path("narrow.yaml").write_text(HARDWARE.replace("1 MB", "100 kB").replace("bench", "narrow"))


def test_experts_are_choices_of_the_plan_and_the_answer_says_why(run: Run) -> None:
    row = json_of(run(*MIXTURE, "--routing", "zipf:0.8", "--json", "-o", "plan.json"))["experts"]
    policies = {of["policy"]: of for of in row["policies"]}
    seconds = {name: of["time_s"] for name, of in policies.items()}
    slack = 1 + 2e-4
    assert seconds["belady"] <= seconds["planned"] * slack
    assert seconds["planned"] <= min(seconds[name] for name in ("lru", "lfu", "pinned")) * slack
    assert [name for name, of in policies.items() if of["knows_the_future"]] == ["belady"]
    assert row["hit_rate"] == policies["planned"]["hit_rate"]
    assert (row["n_experts"], row["top_k"], row["n_layers"]) == (4, 2, 3)
    assert row["unique_experts"] == row["unique_experts_uniform"] == 2
    assert [of["places"] for of in row["sizes"]] == sorted({of["places"] for of in row["sizes"]})
    hits = [of["hit_rate"] for of in row["sizes"]]
    times = [of["time_s"] for of in row["sizes"]]
    assert hits == sorted(hits)
    assert times == sorted(times, reverse=True)
    assert run("verify", "plan.json").code == 0
    file = json.loads(Path("plan.json").read_text())
    assert "--routing zipf:0.8" in file["model"]
    assert json_of(run("simulate", "plan.json", "--json"))["predicted"]["time_s"] == pytest.approx(seconds["planned"])


def test_a_pinned_policy_is_the_one_that_is_planned(run: Run) -> None:
    told = run(*MIXTURE, "--routing", "uniform", "--policy", "lru")
    assert (told.code, told.err) == (0, "")
    for words in ("by choices", "policy lru", "belady (knows the future)", "hits in near", "if each layer had so many"):
        assert words in told.out


def test_a_trace_is_read_and_more_tokens_at_once_need_more_experts(run: Run) -> None:
    drawn = np.argsort(np.random.default_rng(3).random((400, 3, 4)), axis=2)[:, :, :2]
    np.savez("trace.npz", routing=drawn)
    one, four = (
        json_of(run(*MIXTURE, "--routing", "trace.npz", "--batch", n, "--json"))["experts"] for n in ("1", "4")
    )
    assert (one["trace_tokens"], one["parallel_tokens"], four["parallel_tokens"]) == (400, 1, 4)
    assert four["unique_experts"] == pytest.approx(four["unique_experts_uniform"], rel=0.05)
    assert four["unique_experts"] > one["unique_experts"]


def test_a_prompt_is_routed_as_tokens_are(run: Run) -> None:
    prompt = ("plan", "mix.json", "-H", "laptop", "--planner", "greedy", "--phase", "prefill", "--context", "2048")
    row = json_of(run(*prompt, "--routing", "zipf:1", "--json"))["experts"]
    assert (row["parallel_tokens"], row["trace_tokens"]) == (2048, 64 * 2048)
    assert row["unique_experts"] == 4


def test_experts_and_fusing_are_planned_together(run: Run) -> None:
    fused = ("--fusion", "max", "--scratch", "8kB", "--launch", "1us")
    row = json_of(run(*MIXTURE, "--routing", "zipf:0.8", *fused, "--json", "-o", "fused.json"))
    none, most = row["fusion"]["alternatives"]
    assert most["time_s"] < none["time_s"]
    assert most["n_kernels"] < none["n_kernels"]
    assert {"experts", "fusion"} <= set(row)
    policies = {of["policy"]: of["time_s"] for of in row["experts"]["policies"]}
    assert policies["planned"] == pytest.approx(row["predicted"]["time_s"])
    regions = json.loads(Path("fused.json").read_text())["fusion"]["regions"]
    members = [name for region in regions for name in region["operations"]]
    assert members
    assert not [name for name in members if ".experts." in name or name.endswith((".top_k", ".dispatch", ".combine"))]
    assert run("verify", "fused.json").code == 0


def test_less_memory_holds_fewer_experts_and_serves_slower(run: Run) -> None:
    many, few = (json_of(run(*MIXTURE, "--routing", "zipf:0.8", "--dram", size, "--json")) for size in ("1MB", "190kB"))
    assert many["hardware"] == "bench.yaml with --dram 1 MB"
    assert few["experts"]["layers"][0]["places"]["far"] <= many["experts"]["layers"][0]["places"]["far"]
    assert run(*SERVE, "--prompt", "64", "--new", "8", "--dram", "500kB").code == 0
    assert run(*SERVE, "--prompt", "64", "--new", "8", "--dram", "100kB").code == 1


def test_experts_that_fit_nowhere_are_no_plan_with_a_breakdown(run: Run) -> None:
    ran = run("plan", "mix.json", "-H", "narrow.yaml", "--context", "64", "--routing", "uniform", "--planner", "greedy")
    assert ran.code == 1
    for words in ("does not fit", "missing", "what must lie", "experts", "147.5 kB", "weights"):
        assert words in ran.out
    row = json.loads(run(*ran_of_narrow(), "--json").out)
    assert row["status"] == "INFEASIBLE"
    assert row["missing_bytes"]["far"] > 0


def ran_of_narrow() -> tuple[str, ...]:
    return ("plan", "mix.json", "-H", "narrow.yaml", "--phase", "serve", "--prompt", "40", "--new", "4",
            "--planner", "greedy")  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--policy", "lru"), "needs --routing"),
        (("--routing", "zip:1"), "did you mean 'zipf'"),
        (("--routing", "zipf"), "'zipf' is not a demand"),
        (("--routing", "zipf:x"), "'x' in 'zipf:x' is not a number"),
        (("--routing", "zipf:-1"), "skew is -1.0; need 0"),
        (("--routing", "zipf:nan"), "skew is nan"),
        (("--routing", "zipf:0.5,stay:1.5"), "chance to repeat is 1.5; need 0 to 1"),
        (("--routing", "zipf:1,zipf:2"), "says 'zipf' twice"),
        (("--routing", "uniform,zipf:1"), "uniform and has a skew"),
        (("--routing", "none.npz"), "no such file"),
        (("--routing", "wrong.npz", "--batch", "1"), "the routing has 2 layers, the model 3"),
        (("--routing", "range.npz"), "expert 9 does not exist"),
        (("--routing", "uniform", "--policy", "lruu"), "did you mean 'lru'"),
        (("--routing", "uniform", "--phase", "train"), "--routing is for the phases decode, prefill and serve"),
        (("--routing", "short.npz", "--batch", "3"), "5 tokens, and a turn routes 3"),
        (("--prompt", "5"), "--prompt means nothing without --phase serve"),
        (("--prompt", "5", "--new", "6"), "--prompt, --new means nothing without --phase serve"),
        (("--phase", "serve", "--prompt", "5"), "needs --prompt N and --new N"),
        (("--phase", "serve", "--prompt", "5", "--new", "6"), "--context means nothing"),
    ],
)
def test_bad_input_of_plan(run: Run, options: tuple[str, ...], words: str) -> None:
    np.savez("wrong.npz", routing=np.array([[[0, 1], [0, 1]]] * 2))
    np.savez("range.npz", routing=np.array([[[0, 9]] * 3]))
    np.savez("short.npz", routing=np.array([[[0, 1]] * 3] * 5))
    assert words in refused(run, *MIXTURE, *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--prompt", "0", "--new", "5"), "a prompt of 0 and 5 new tokens"),
        (("--prompt", "5", "--new", "1"), "1 new tokens"),
        (("--prompt", "5", "--new", "6", "--cyclic"), "--cyclic means nothing for a language model"),
        (("--prompt", "5000000", "--new", "6"), "take"),
    ],
)
def test_bad_input_of_serving(run: Run, options: tuple[str, ...], words: str) -> None:
    assert words in refused(run, *SERVE, *options)


def test_routing_is_for_models_with_experts(run: Run) -> None:
    assert "has no experts" in refused(run, "plan", "gpt2", "-H", "laptop", "--routing", "uniform")


def serve_row(run: Run, *options: str) -> dict[str, Any]:
    return json_of(run(*SERVE, *options, "--json"))


def test_serving_sums_the_prompt_and_every_later_token(run: Run) -> None:
    answer = serve_row(run, "--prompt", "100", "--new", "20", "--batch", "2")
    row = answer["serve"]
    times = row["time_per_token_s"]
    assert 0 < times["first"] <= times["mean"] <= times["last"]
    assert row["decode_s"] == pytest.approx(19 * times["mean"])
    assert row["decode_error_s"] <= 0.002 * row["decode_s"]
    assert row["total_s"] == pytest.approx(row["time_to_first_token_s"] + row["decode_s"])
    assert row["tokens_per_s"] == pytest.approx(2 * 20 / row["total_s"])
    cache = 2 * 3 * 2 * 2 * 8 * 2  # k and v, layers, sequences, heads of 8 elements of 2 bytes
    assert sum(tier["at_start"] for tier in row["cache"]) == pytest.approx(100 * cache, abs=9)
    assert sum(tier["at_end"] for tier in row["cache"]) == pytest.approx(119 * cache, abs=9)
    assert [of["tier"] for of in row["restoring"]] == ["far"]
    assert answer["bound_s"] <= answer["predicted"]["time_s"]


def test_a_cache_that_outgrows_the_fast_tier_is_cut_into_pages(run: Run) -> None:
    row = serve_row(run, "--prompt", "64", "--new", "200")["serve"]
    assert {tier["tier"] for tier in row["cache"]} == {"near", "far"}
    window = serve_row(run, "--prompt", "64", "--new", "300", "--dtype", "f32")["serve"]
    assert window["cache_rows"] == 363


def test_serving_with_routing_tells_both(run: Run) -> None:
    told = run(*SERVE, "--prompt", "64", "--new", "8", "--routing", "zipf:1", "--batch", "2")
    assert (told.code, told.err) == (0, "")
    for words in (
        "first token",
        "each later",
        "total",
        "the key-value cache",
        "a cache in far",
        "policies in the same",
    ):
        assert words in told.out


COMPOSITION = ("experts", "2kB", "-n", "40", "-H", "bench.yaml", "--router", "none", "--token-time", "1us")


def test_a_composition_is_served_under_every_policy(run: Run) -> None:
    row = json_of(run(*COMPOSITION, "--requests", "zipf:0.7", "--batch", "4", "--json"))
    by_name = {of["name"]: of for of in row["policies"]}
    assert list(by_name) == ["pinned", "lru", "lfu", "belady", "planned"]
    rates = {name: of["hit_rate"] for name, of in by_name.items()}
    assert rates["belady"] >= rates["planned"] >= max(rates["lru"], rates["lfu"], rates["pinned"])
    assert [(tier["name"], tier["places"]) for tier in row["tiers"]] == [("near", 32), ("far", 500)]
    assert row["tiers"][1]["switch_s"] == pytest.approx(2e3 / 1e9)
    for of in by_name.values():
        assert of["latency_s"]["p50"] <= of["latency_s"]["p99"]
        assert of["tokens_per_s"] > 0
    assert sum(limit["share"] for limit in row["limits"]) == pytest.approx(1)
    assert row["times"] == {"router_s": 0.0, "prompt_s": 0.0, "token_s": pytest.approx(1e-6)}
    told = run(*COMPOSITION, "--policy", "lru", "--prefetch", "--batch", "4")
    assert (told.code, told.err) == (0, "")
    for words in ("40 experts of 2kB on bench", "near holds 31", "limited by", "what would help (policy lru)"):
        assert words in told.out.replace("near holds 32", "near holds 31")
    assert "--prefetch" not in told.out


def test_experts_that_fit_stay_after_their_first_switch(run: Run) -> None:
    row = json_of(run("experts", "2kB", "-n", "20", *COMPOSITION[4:], "--n-requests", "500", "--json"))
    assert [tier["name"] for tier in row["tiers"]] == ["near"]
    assert {of["switch_s"] for of in row["policies"]} == {0.0}


def test_predicted_times_of_a_composition_follow_the_machine(run: Run) -> None:
    row = json_of(run("experts", "llama2-7b", "-n", "150", "-H", "sn40l-node", "--n-requests", "200", "--json"))
    hbm = load_machine("sn40l-node").tiers[1]
    assert row["expert_bytes"] == 13_476_831_232
    assert row["times"]["token_s"] >= row["expert_bytes"] / hbm.read_bandwidth
    assert row["tiers"][1]["switch_s"] == pytest.approx(row["expert_bytes"] / 1e12)


def test_more_experts_than_the_host_holds_are_no_plan(run: Run) -> None:
    ran = run("experts", "llama2-7b", "-n", "150", "-H", "a100-dgx", "--n-requests", "9")
    assert ran.code == 1
    assert "does not fit" in ran.out
    assert "148" in ran.out
    row = json.loads(run("experts", "1MB", "-n", "3", "-H", "bench.yaml", "--token-time", "1s", "--json").out)
    assert (row["status"], [tier["holds"] for tier in row["tiers"]]) == ("INFEASIBLE", [0, 1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-n", "0"), "--count is 0"),
        (("--requests", "zipf:11"), "skew is 11.0"),
        (("--requests", "trace.npz"), "expert 41 does not exist; there are 40"),
        (("--batch", "0"), "--batch is 0"),
        (("--new", "0"), "--new is 0"),
        (("--policy", "fifo"), "unknown cache policy 'fifo'"),
        (("--n-requests", "0"), "0 requests"),
        (("--router", "3kB"), "give --router-time"),
        (("--router", "nosuch"), "no model 'nosuch'"),
        (("--token-time", "5"), "no unit"),
    ],
)
def test_bad_input_of_a_composition(run: Run, options: tuple[str, ...], words: str) -> None:
    np.savez("trace.npz", requests=np.array([1, 41]))
    assert words in refused(run, *COMPOSITION, *options, output=False)


def test_a_size_needs_its_times(run: Run) -> None:
    assert "--token-time" in refused(run, "experts", "2kB", "-n", "4", "-H", "bench.yaml", output=False)
