"""Prompts in turns, and cached prefixes: chunks add up to the whole, and what is fetched is not read."""

import dataclasses
import json
from pathlib import Path

import mixtures
import numpy as np
import pytest
from test_cli_bad_input import refused
from test_cli_commands import Run, json_of, run
from test_sim_serving import GEMMA

from tierplan.frontend.architecture import Architecture
from tierplan.frontend.config import read_config
from tierplan.frontend.transformer import language_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Graph
from tierplan.ir.problem import Floats, Problem
from tierplan.serving_prompt import Turns
from tierplan.sim.held import held_s
from tierplan.sim.lowering import lower

__all__ = ["run"]

SERVE = ("plan", "mix.json", "-H", "bench.yaml", "--phase", "serve", "--planner", "greedy", "--prompt", "100")


@pytest.fixture(autouse=True)
def inputs(run: Run) -> None:
    """The models, in the folder that `run` makes."""
    Path("mix.json").write_text(json.dumps(mixtures.CONFIG))
    Path("gemma.json").write_text(json.dumps({**GEMMA, "sliding_window": 40}))


def _graph(context: int, chunk: int | None, config: dict[str, object]) -> Graph:
    arch = read_config(json.dumps(config), "small")
    assert isinstance(arch, Architecture)
    return language_model(arch, phase="prefill", batch=2, context=context, dtype=None, chunk=chunk)


@pytest.mark.parametrize("config", [mixtures.CONFIG, {**GEMMA, "sliding_window": 40}], ids=["full", "windows"])
def test_chunks_of_a_prompt_do_the_work_of_all_of_it(config: dict[str, object]) -> None:
    def attention(graph: Graph) -> tuple[int, int]:
        ops = [op for op in graph.ops if op.kind == "attention"]
        return sum(op.matrix_ops for op in ops), sum(int(str(op.attributes["scores"])) for op in ops)

    parts = [_graph(context, n, config) for context, n in ((32, 32), (64, 32), (90, 26))]
    whole = _graph(90, None, config)
    assert np.sum([attention(graph) for graph in parts], axis=0).tolist() == list(attention(whole))
    assert sum(graph.tokens for graph in parts) == whole.tokens == 180
    assert parts[0] == dataclasses.replace(_graph(32, None, config))
    caches = [t for t in parts[1].tensors if t.kind.name == "STATE"]
    read = {access.tensor for op in parts[1].ops if op.kind == "attention" for access in op.reads}
    assert {t.name for t in caches} <= read
    assert {t.shape[-2] for t in caches} == ({64} if config is mixtures.CONFIG else {40, 64})


def test_turns_sum_to_the_time_of_each_without_the_heads_between() -> None:
    turns = Turns(
        lambda context, n: _graph(context, n, mixtures.CONFIG), lambda graph: lower(graph, mixtures.machine()), 32
    )

    def near(of: Problem) -> Floats:
        return np.tile(np.array([1.0, 0.0]), (of.n_tensors, 1))

    assert turns.split(0, 90) == (2, 32, 26)
    assert turns.split(0, 64) == (1, 32, 32)
    assert turns.split(80, 90) == (0, 10, 10)
    expected = 0.0
    for context, n in ((32, 32), (64, 32), (90, 26)):
        of = turns.turn(context, n)
        each = held_s(of, near(of))
        last = max(t for t, name in enumerate(of.step_names) if ".layers." in name)
        assert of.step_names[last + 1 :] == ("model.norm", "lm_head")
        expected += float(each.sum() if context == 90 else each[: last + 1].sum())
    assert turns.seconds(0, 90, near) == pytest.approx(expected, rel=1e-9)
    assert turns.seconds(64, 90, near) < expected / 2


@pytest.mark.parametrize("chunk", [0, -3])
def test_chunks_of_nothing_are_refused(chunk: int) -> None:
    with pytest.raises(InvalidInputError, match="--prompt-chunk is"):
        Turns(
            lambda context, n: _graph(context, n, mixtures.CONFIG),
            lambda graph: lower(graph, mixtures.machine()),
            chunk,
        )


def test_chunks_need_less_room_and_more_time(run: Run) -> None:
    whole, chunked = (
        json_of(run(*SERVE, "--new", "10", *options, "--json")) for options in ((), ("--prompt-chunk", "16"))
    )
    assert (whole["serve"]["prompt_chunk"], chunked["serve"]["prompt_chunk"]) == (None, 16)
    assert chunked["serve"]["time_to_first_token_s"] > whole["serve"]["time_to_first_token_s"]


def test_a_cached_prefix_is_fetched_where_that_is_faster(run: Run) -> None:
    plain = json_of(run(*SERVE, "--new", "10", "--json"))["serve"]
    row = json_of(run(*SERVE, "--new", "10", "--cached", "96:far", "--json"))["serve"]
    cached, ways = row["cached"], row["cached"]["ways"]
    assert [way["fetched"] for way in ways][:2] == [0, 16]
    assert ways[-1]["fetched"] == 96
    assert [way["fetch_s"] for way in ways] == sorted(way["fetch_s"] for way in ways)
    assert [way["read_s"] for way in ways] == sorted((way["read_s"] for way in ways), reverse=True)
    assert ways[0]["fetch_s"] == 0
    assert row["time_to_first_token_s"] == min(way["total_s"] for way in ways if way["fits"])
    assert row["time_to_first_token_s"] <= plain["time_to_first_token_s"]
    assert [way["height"] for way in ways] == sorted((way["height"] for way in ways), reverse=True)
    assert cached["fetched"] == next(w["fetched"] for w in ways if w["total_s"] == row["time_to_first_token_s"])
    told = run(*SERVE, "--new", "10", "--cached", "96:far", "--prompt-chunk", "8")
    assert (told.code, told.err) == (0, "")
    assert "of the 96 cached positions" in told.out
    assert "positions fetched from far" in told.out


def test_a_model_with_windows_in_some_layers_is_served(run: Run) -> None:
    serve = ("plan", "gemma.json", *SERVE[2:], "--new", "10")
    row = json_of(run(*serve, "--json"))["serve"]
    assert (row["cache_rows"], row["cache_limits"]) == (109, [40])
    each = 2 * 2 * 8 * 2  # k and v, heads of 8 elements of 2 bytes
    assert sum(tier["at_end"] for tier in row["cache"]) == pytest.approx(2 * each * (109 + 40), abs=9)
    assert "2 of 4 layers keep the last 40 positions" in run(*serve).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cached", "96"), "write positions and the tier they lie in, like 800:ddr"),
        (("--cached", "-5:far"), "like 800:ddr"),
        (("--cached", "96:fra"), "this machine has near, far"),
        (("--cached", "100:far"), "need 1 to 99"),
        (("--cached", "0:far"), "need 1 to 99"),
        (("--prompt-chunk", "0"), "--prompt-chunk is 0"),
    ],
)
def test_bad_input(run: Run, options: tuple[str, ...], words: str) -> None:
    assert words in refused(run, *SERVE, "--new", "10", *options)


def test_prompts_are_of_services(run: Run) -> None:
    plain = ("plan", "mix.json", "-H", "bench.yaml", "--planner", "greedy")
    assert "--prompt-chunk, --cached means nothing without --phase serve" in refused(
        run, *plain, "--prompt-chunk", "5", "--cached", "5:far"
    )
