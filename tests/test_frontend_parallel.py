"""Graphs of one device of several: together they are the graph of the whole model, and collectives join them."""

import dataclasses
import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.frontend.config import read_config
from tierplan.frontend.parallel import ALONE, Parallel, Shard, chance_of_rank, split
from tierplan.frontend.shards import own_weights
from tierplan.frontend.transformer import language_model
from tierplan.frontend.weights import weights
from tierplan.ir.collectives import KINDS, collective_of
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import TensorKind
from tierplan.models import load

QUICK = settings(max_examples=25, deadline=None)
SMALL = {
    "model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8,
    "num_key_value_heads": 4, "head_dim": 16, "intermediate_size": 96, "moe_intermediate_size": 32, "num_experts": 16,
    "num_experts_per_tok": 4, "vocab_size": 250, "max_position_embeddings": 512, "mlp_only_layers": [1],
    "decoder_sparse_step": 1, "tie_word_embeddings": False, "norm_topk_prob": True,
}  # fmt: skip


def small(**changes):
    return read_config(json.dumps(SMALL | changes), "small")


def graph(arch, parallel=None, rank=0, stage=0, phase="decode", batch=8, context=40):
    shard = ALONE if parallel is None else Shard(parallel, rank, stage)
    return language_model(arch, phase=phase, batch=batch, context=context, dtype="bfloat16", shard=shard)


def every_shard(parallel):
    return [Shard(parallel, r, s) for s in range(parallel.pp) for r in range(parallel.stage_devices)]


def elements(arch, shard):
    parts = own_weights(arch, None, shard, tuple(shard.layers(arch.n_layers)))
    return {t.name: t.n_elements for t in parts.tensors("bfloat16")}


def matrix_ops(graphs):
    return sum(op.matrix_ops for each in graphs for op in each.ops)


def test_one_device_has_the_graph_of_the_whole_model():
    for name in ("llama3-8b", "mixtral-8x7b", "deepseek-v2-lite", "bert-base-uncased"):
        arch = read_config(load(name), name)
        phase = "prefill" if name.startswith("bert") else "decode"
        whole = language_model(arch, phase=phase, batch=2, context=64, dtype=None)
        alone = language_model(arch, phase=phase, batch=2, context=64, dtype=None, shard=Shard(Parallel(1, 1, 1)))
        assert whole == alone
        assert not any(op.kind in KINDS for op in whole.ops)


@pytest.mark.parametrize(
    "parallel",
    [Parallel(2), Parallel(4), Parallel(8), Parallel(2, 3), Parallel(4, 1, 2), Parallel(4, 1, 4), Parallel(2, 1, 8),
     Parallel(1, 1, 16), Parallel(4, 2, 1, groups=2), Parallel(2, 3, 2, groups=2)],
    ids=str,
)  # fmt: skip
def test_weights_of_all_devices_are_those_of_the_model(parallel):
    """Each element lies on one device, or on all that repeat it: norms, routers, some key-value heads."""
    arch = small()
    whole = {t.name: t.n_elements for t in weights(arch).tensors("bfloat16")}
    total = Counter()
    for shard in every_shard(parallel):
        total.update(elements(arch, shard))
    assert set(total) == set(whole)
    for name, n in whole.items():
        if "norm" in name or name.endswith("gate.weight"):
            copies = parallel.stage_devices
        elif "experts" in name:
            copies = 1
        elif "k_proj" in name or "v_proj" in name:
            copies = parallel.groups * max(1, parallel.tp // arch.n_kv_heads)
        else:
            copies = parallel.groups
        assert total[name] == copies * n, name


MODELS = ("llama3-8b", "qwen2-7b", "mixtral-8x7b", "deepseek-v2-lite", "gemma2-9b", "falcon-40b", "opt-1.3b", "gpt2-xl")
REPEATED = ("gate", "kv_a_proj_with_mqa")  # routers, and what all heads of a latent attention share


@given(st.sampled_from(MODELS), st.integers(1, 3), st.integers(1, 3), st.sampled_from(["prefill", "decode"]), st.data())
@QUICK
def test_operations_of_all_devices_are_those_of_the_model(name, n_layers, pp, phase, data):
    """Each product is either split over the devices of its stage or, if it is one of a few, repeated by them."""
    arch = dataclasses.replace(read_config(load(name), name), n_layers=n_layers)
    tp = data.draw(st.sampled_from([n for n in (1, 2, 4, 5, 7, 8) if arch.n_kv_heads % n == 0 and arch.ffn % n == 0]))
    parallel = Parallel(tp, min(pp, n_layers))
    parts = [graph(arch, parallel, s.rank, s.stage, phase, 2, 9) for s in every_shard(parallel)]
    whole = graph(arch, None, phase=phase, batch=2, context=9)
    repeated = [op.matrix_ops for op in whole.ops if op.name.endswith(REPEATED) and op.kind == "matmul"]
    if name == "mixtral-8x7b" or name.startswith("deepseek"):
        assert repeated
    assert matrix_ops(parts) == matrix_ops([whole]) + (tp - 1) * sum(repeated)


@pytest.mark.parametrize("parallel", [Parallel(4, 1, 4), Parallel(1, 1, 8), Parallel(2, 1, 8), Parallel(2, 1, 1, 4)])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_experts_do_the_work_of_the_model(parallel, phase):
    arch = small(mlp_only_layers=[])

    def of_experts(*graphs):
        return sum(op.matrix_ops for each in graphs for op in each.ops if ".experts" in op.name)

    parts = [graph(arch, parallel, rank, phase=phase) for rank in range(parallel.stage_devices)]
    assert of_experts(*parts) == pytest.approx(of_experts(graph(arch, phase=phase)), rel=1e-3)
    bytes_read = [sum(a.bytes for op in g.ops if ".experts" in op.name for a in op.reads) for g in parts]
    assert len(set(bytes_read)) == 1


def collectives(each):
    return [(op.name, found) for op in each.ops if (found := collective_of(op))]


def test_tensor_parallel_sums_after_each_block():
    arch = small(mlp_only_layers=[0, 1, 2])
    found = collectives(graph(arch, Parallel(4), batch=8))
    sums = [c for name, c in found if c.kind == "all_reduce"]
    row = 8 * 64 * 2  # batch x hidden x bfloat16
    assert [c.bytes for c in sums] == [row] * (1 + 2 * 3)
    (gathered,) = [c for name, c in found if c.kind == "all_gather"]
    assert gathered.bytes == 8 * 250 * 2
    assert {c.devices for _, c in found} == {4}


def test_a_parallel_block_is_summed_once():
    arch = dataclasses.replace(read_config(load("falcon-40b"), "falcon-40b"), n_layers=2)
    names = [name for name, c in collectives(graph(arch, Parallel(8))) if c.kind == "all_reduce"]
    assert names == ["all_reduce embed_tokens", "all_reduce transformer.h.0", "all_reduce transformer.h.1"]


def test_tokens_go_once_to_each_device_that_has_an_expert():
    arch = small(mlp_only_layers=[])
    found = collectives(graph(arch, Parallel(1, 1, 8), batch=16))
    sent = [c for _, c in found if c.kind == "all_to_all"]
    chance = 1 - (14 * 13 * 12 * 11) / (16 * 15 * 14 * 13)  # none of 4 of 16 experts is one of the device's 2
    assert len(sent) == 2 * 3
    assert {c.devices for c in sent} == {8}
    assert sent[0].sent == pytest.approx(2 * chance * 7 * 64 * 2)  # 2 tokens, 7 others, 64 bfloat16 each
    assert not [c for _, c in found if c.kind == "all_reduce"]


def test_stages_hand_on_what_they_computed():
    arch = small()
    stages = [graph(arch, Parallel(2, 3), stage=s, batch=8) for s in range(3)]
    kinds = [[c.kind for _, c in collectives(g) if c.kind in ("send", "receive")] for g in stages]
    assert kinds == [["send"], ["receive", "send"], ["receive"]]
    for _, c in [pair for g in stages for pair in collectives(g) if pair[1].kind in ("send", "receive")]:
        assert (c.bytes, c.devices, c.stride) == (8 * 64 * 2, 2, 2)
    assert [t.name for t in stages[2].tensors if t.kind is TensorKind.OUTPUT] == ["logits"]
    assert not any(t.name == "input_ids" for g in stages[1:] for t in g.tensors)


def test_a_tied_head_has_a_matrix_of_its_own_in_another_stage():
    arch = small(tie_word_embeddings=True)
    assert "lm_head.weight" in elements(arch, Shard(Parallel(pp=2), stage=1))
    assert "lm_head.weight" not in elements(arch, Shard(Parallel(2)))


def test_caches_are_split_by_heads_and_sequences():
    arch = small()

    def cached(parallel):
        return sum(t.n_elements for t in graph(arch, parallel).tensors if t.kind is TensorKind.STATE)

    whole = cached(Parallel())
    assert cached(Parallel(2)) == whole // 2
    assert cached(Parallel(8)) == whole // 4  # 4 key-value heads, each on two devices
    assert cached(Parallel(1, 1, 8)) == whole // 8
    assert cached(Parallel(1, 3)) == whole // 3


@given(st.integers(0, 300), st.integers(1, 20))
@QUICK
def test_parts_follow_one_another_and_differ_by_one_at_most(n, parts):
    found = [split(n, parts, index) for index in range(parts)]
    assert [i for part in found for i in part] == list(range(n))
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(1, 6), st.integers(1, 6), st.data())
@QUICK
def test_the_chance_of_a_rank_counts_the_choices(ranks, each, data):
    from itertools import combinations

    n = ranks * each
    per_token = data.draw(st.integers(1, min(n, 3)))
    choices = list(combinations(range(n), per_token))
    hit = sum(any(e < each for e in choice) for choice in choices)
    assert chance_of_rank(n, per_token, ranks) == pytest.approx(hit / len(choices))


@pytest.mark.parametrize(
    ("parallel", "message"),
    [
        ((3,), "--tp 3 does not divide the 8 heads of 'small'; the nearest are 2 and 4"),
        ((1, 4), "--pp 4: 'small' has 3 layers; write that or fewer"),
        ((1, 1, 3), "--ep 3 does not divide the 16 experts of 'small'; the nearest are 2 and 4"),
        ((1, 1, 32), "--ep 32 does not divide the 16 experts of 'small'; the nearest is 16"),
        ((1, 1, 16), "--batch 8 cannot be split over 16 groups of 1 devices; write a multiple of 16"),
    ],
)
def test_what_does_not_divide_is_told(parallel, message):
    with pytest.raises(InvalidInputError) as error:
        graph(small(name_or_path="small"), Parallel(*parallel))
    assert str(error.value) == message


def test_impossible_numbers_are_told():
    with pytest.raises(InvalidInputError, match="--tp is 0; write a whole number from 1 to 4096"):
        Parallel(0)
    with pytest.raises(InvalidInputError, match="--ep 4 neither divides nor is a multiple of --tp 6"):
        Parallel(6, 1, 4)
    with pytest.raises(InvalidInputError, match="'llama3-8b' has no experts"):
        graph(read_config(load("llama3-8b"), "llama3-8b"), Parallel(1, 1, 2))
    with pytest.raises(InvalidInputError, match="training is for one device yet"):
        graph(small(), Parallel(2), phase="train")
    with pytest.raises(InvalidInputError, match=r"rank 2 of tp 2, pp 1, ep 1; need 0 to 1"):
        Shard(Parallel(2), 2)
    with pytest.raises(InvalidInputError, match="the 4 key-value heads, nor do they divide it,"):
        graph(small(num_attention_heads=12), Parallel(6))
