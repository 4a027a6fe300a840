"""Operations of language models: their cascades, executed, against plain jax.numpy, forward and backward."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from config_strategies import configs
from einsum_model_oracle import FIRST, FORWARD, STEP, adamw
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tierplan.einsum.counts import MULTIPLY_ACCUMULATE, count, number
from tierplan.einsum.execute import execute
from tierplan.einsum.lower import coverage, lower_graph, lower_op
from tierplan.einsum.parse import parse_cascade
from tierplan.einsum.passes import analyse
from tierplan.einsum.printer import show_cascade
from tierplan.einsum.sizes import resolve
from tierplan.frontend.config import read_config
from tierplan.frontend.transformer import language_model
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.graph import Access, Op, Tensor, TensorKind
from tierplan.models import load

QUICK = settings(max_examples=4, deadline=None, phases=[phase for phase in Phase if phase is not Phase.explain])
# Operands of the forward operation that its derivative reads; all, where a kind is not here.
SAVED = {"rms_norm": (0, 1), "layer_norm": (0, 1), "rotary": (), "attention": (0, 1, 2), "top_k": (0,),
         "dispatch": (1,), "embedding": (0,), "add_positions": ()}  # fmt: skip
CHEAP = {"xla_backend_optimization_level": 0}
EXTRA = {"First": np.asarray(FIRST), "Step": np.asarray(STEP)}


def model(config, phase, batch, context):
    text = config if isinstance(config, str) else json.dumps(config)
    return language_model(read_config(text, "drawn"), phase=phase, batch=batch, context=context, dtype="float64")


@st.composite
def graphs(draw):
    config = draw(configs())
    phases = ["prefill", "train"] if config["model_type"] == "bert" else ["decode", "prefill", "train"]
    return model(config, draw(st.sampled_from(phases)), draw(st.integers(1, 2)), draw(st.integers(1, 9)))


def once_per_kind(graph):
    """The lowered operations, one per kind, role and number of operands."""
    found = {}
    for entry in lower_graph(graph):
        op = entry.op
        role = op.name.rpartition(".")[2] if op.kind == "matmul" else ""
        found[op.kind, role, len(op.reads), len(op.writes)] = entry
    return found.values()


def n_rows(graph, op):
    """Ids that an operation knows: rows of its table, or classes of its logits."""
    if op.kind.startswith("cross_entropy"):
        return graph.tensor(op.reads[0].tensor).shape[-1]
    table = op.writes[0] if op.kind == "embedding_grad" else op.reads[1]
    return graph.tensor(table.tensor).shape[0]


def filled(graph, op, generator):
    """Random content for what an operation reads; whole numbers are valid ids, experts of one token distinct."""
    arrays = []
    for access in op.reads:
        tensor = graph.tensor(access.tensor)
        if not tensor.dtype.startswith("int"):
            arrays.append(generator.standard_normal(tensor.shape))
        elif op.kind in ("dispatch", "dispatch_grad", "combine", "combine_grad"):
            experts = len(op.writes) if op.kind == "dispatch" else len(op.reads) - {"dispatch_grad": 1}.get(op.kind, 2)
            experts -= op.kind == "combine_grad"
            rows = [
                generator.permutation(experts)[: tensor.shape[-1]] for _ in range(tensor.n_elements // tensor.shape[-1])
            ]
            arrays.append(np.asarray(rows).reshape(tensor.shape))
        else:
            arrays.append(generator.integers(0, n_rows(graph, op), tensor.shape))
    return arrays


def executed(cascade, arrays, backend="numpy"):
    inputs = dict(zip(cascade.inputs, arrays, strict=False))
    inputs |= {name: EXTRA[name] for name in cascade.inputs[len(arrays) :]}
    made = execute(cascade, inputs, backend=backend)
    return [np.asarray(made[name]) for name in cascade.outputs]


def expected(graph, op, arrays):
    """What the operation writes, by the oracle; a derivative by JAX's own of the forward formula."""
    shapes = [graph.tensor(access.tensor).shape for access in op.writes]
    if op.kind in FORWARD and not op.name.endswith((".grad_weight", ".grad_input")):
        return FORWARD[op.kind](op, shapes, *arrays)
    if op.kind == "adamw":
        moments = adamw(arrays)
        return [*moments, *moments[2:]][: len(shapes)]
    if op.kind == "cache_append":
        return [appended(op, x, shape) for x, shape in zip(arrays, shapes, strict=True)]
    return backward(graph, op, arrays, shapes)


def appended(op, x, shape):
    n = op.attributes["rows"] // shape[0]
    cache = np.zeros(shape)
    cache[:, :, shape[2] - n :] = x[:, x.shape[1] - n :].reshape(shape[0], n, shape[1], shape[3]).transpose(0, 2, 1, 3)
    return cache


def backward(graph, op, arrays, shapes):
    forward = next(o for o in graph.ops if o.name == op.name.rpartition(".grad")[0])
    outs = [graph.tensor(access.tensor).shape for access in forward.writes]
    n_reads = len(forward.reads)
    kinds = [graph.tensor(access.tensor) for access in forward.reads]
    reads = [np.zeros(t.shape, int if t.dtype.startswith("int") else float) for t in kinds]
    if op.name.endswith(".grad_weight"):
        reads[0], gradients, wanted = arrays[0], arrays[1:], range(1, n_reads)
    elif op.name.endswith(".grad_input"):
        reads[1], gradients, wanted = arrays[-1], arrays[:-1], [0]
    else:
        saved = SAVED.get(forward.kind, range(n_reads))
        saved = [index for index in saved if index < n_reads]
        n_gradients = {"attention": 1, "top_k": 1, "cross_entropy": 0, "loss": 0}.get(forward.kind, len(outs))
        gradients = arrays[:n_gradients]
        for index, array in zip(saved, arrays[n_gradients:], strict=False):
            reads[index] = array
        wanted = [i for i, t in enumerate(kinds) if not t.dtype.startswith("int")]
        if forward.kind == "add_positions":
            wanted = wanted[1:]
    integral = [i for i in range(n_reads) if i not in wanted]
    fixed = {i: reads[i] for i in integral}

    def run(*given):
        both = {**dict(zip(wanted, given, strict=True)), **fixed}
        return FORWARD[forward.kind](forward, outs, *(both[i] for i in range(n_reads)))[: max(len(gradients), 1)]

    made, pull = jax.vjp(run, *(reads[i] for i in wanted))
    cotangents = gradients if gradients else [jnp.ones(())]
    slopes = list(pull([jnp.asarray(c).reshape(m.shape) for c, m in zip(cotangents, made, strict=True)]))
    if forward.kind == "embedding" and len(arrays) == 3:
        slopes[0] = slopes[0] + arrays[2]
    return slopes[: len(shapes)]


def with_kept(graph, op, arrays):
    """Values kept from a forward pass must be those of the drawn operands, not random."""
    if op.kind == "attention_grad":
        forward = next(o for o in graph.ops if o.name == op.name.removesuffix(".grad"))
        shapes = [graph.tensor(access.tensor).shape for access in forward.writes]
        arrays[4:] = [np.asarray(x) for x in FORWARD["attention"](forward, shapes, *map(jnp.asarray, arrays[1:4]))]
    if op.kind == "cross_entropy_grad":
        arrays[2] = np.asarray(jax.scipy.special.logsumexp(arrays[0], axis=-1))
    if op.kind == "adamw":
        arrays[2] = np.abs(arrays[2])
    return arrays


def check(graph, entry, generator, backend="numpy"):
    op = entry.op
    with jax.enable_x64(True):
        arrays = with_kept(graph, op, filled(graph, op, generator))
        # One compilation per operation, and a cheap one: eager JAX would compile every primitive of it.
        run = jax.jit(lambda: list(expected(graph, op, arrays)), compiler_options=CHEAP)
        wanted = [np.asarray(x) for x in run()]
    found = executed(entry.cascade, arrays, backend)
    assert len(found) == len(wanted) == len(op.writes)
    for access, mine, theirs in zip(op.writes, found, wanted, strict=True):
        assert mine.shape == graph.tensor(access.tensor).shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10, err_msg=f"{op.name}: {access.tensor}")


@QUICK
@given(graphs(), st.integers(0, 2**32 - 1))
def test_every_operation_of_a_model_equals_its_formula(graph, seed):
    generator = np.random.default_rng(seed)
    for entry in once_per_kind(graph):
        assert entry.cascade is not None, f"{entry.op.kind}: {entry.reason}"
        check(graph, entry, generator)


def test_cascades_of_models_run_on_jax_too():
    graph = model(TINY["tiny-mixtral"], "train", 2, 6)
    for entry in once_per_kind(graph):
        if entry.op.kind in ("attention", "dispatch", "combine", "rotary", "attention_grad", "top_k_grad"):
            check(graph, entry, np.random.default_rng(1), "jax")


TINY = {
    "tiny-llama": {"model_type": "llama", "hidden_size": 16, "intermediate_size": 12, "num_attention_heads": 4,
                   "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 11, "head_dim": 4},
    "tiny-mixtral": {"model_type": "mixtral", "hidden_size": 16, "intermediate_size": 12, "num_attention_heads": 4,
                     "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 11, "num_local_experts": 3,
                     "num_experts_per_tok": 3},
    "sparse-mixtral": {"model_type": "mixtral", "hidden_size": 8, "intermediate_size": 5, "num_attention_heads": 2,
                       "num_key_value_heads": 1, "num_hidden_layers": 1, "vocab_size": 11, "num_local_experts": 4,
                       "num_experts_per_tok": 2, "sliding_window": 3},
    "tiny-bert": {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1,
                  "intermediate_size": 12, "vocab_size": 11, "max_position_embeddings": 16, "type_vocab_size": 2},
    "tiny-falcon": {"model_type": "falcon", "hidden_size": 16, "num_attention_heads": 4, "num_hidden_layers": 1,
                    "vocab_size": 11, "alibi": True, "multi_query": True, "bias": True},
    "tiny-gpt2": {"model_type": "gpt2", "n_embd": 12, "n_head": 3, "n_layer": 2, "n_positions": 16, "vocab_size": 11},
}  # fmt: skip


@pytest.mark.parametrize("name", ["sparse-mixtral", "tiny-bert", "tiny-falcon", "tiny-gpt2"])
def test_every_operation_of_a_training_step_equals_its_formula(name):
    graph = model(TINY[name], "train", 2, 6)
    for entry in once_per_kind(graph):
        check(graph, entry, np.random.default_rng(4))


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-mixtral", "tiny-gpt2"])
def test_a_training_step_computes_the_gradient_of_its_own_forward_pass(name):
    """The graph's forward part as one function in plain jax.numpy, differentiated whole, against cascade by cascade."""
    graph = model(TINY[name], "train", 2, 5)
    generator = np.random.default_rng(3)
    start = {t.name: generator.standard_normal(t.shape) * 0.3 for t in graph.tensors if t.kind.exists_at_start}
    for t in graph.tensors:
        if t.dtype.startswith("int") and t.kind is TensorKind.INPUT:
            start[t.name] = generator.integers(0, 11, t.shape)
        if t.name.endswith("exp_avg_sq"):
            start[t.name] = np.abs(start[t.name])
    values = dict(start)
    for entry in lower_graph(graph):
        made = executed(entry.cascade, [values[access.tensor] for access in entry.op.reads])
        values.update(zip((access.tensor for access in entry.op.writes), made, strict=True))
    weights = {t.name: start[t.name] for t in graph.tensors if t.kind is TensorKind.WEIGHT}

    def loss(given):
        there = {**start, **given}
        for op in graph.ops:
            shapes = [graph.tensor(access.tensor).shape for access in op.writes]
            reads = [there[access.tensor] for access in op.reads]
            if op.kind == "top_k":
                there[op.writes[0].tensor] = FORWARD["top_k"](op, shapes, *reads)[0]
                there[op.writes[1].tensor] = values[op.writes[1].tensor].astype(int)
            else:
                made = FORWARD[op.kind](op, shapes, *reads)
                there.update(zip((access.tensor for access in op.writes), made, strict=True))
            if op.kind == "cross_entropy":
                return there["loss"]
        raise AssertionError("no loss")

    with jax.enable_x64(True):
        value, slopes = jax.jit(jax.value_and_grad(loss), compiler_options=CHEAP)(weights)
    np.testing.assert_allclose(values["loss"], value, rtol=1e-10)
    for weight, slope in slopes.items():
        np.testing.assert_allclose(values[f"{weight}.grad"], slope, rtol=1e-8, atol=1e-11, err_msg=weight)


NAMED = [
    ("llama2-7b", "decode"), ("llama2-7b", "prefill"), ("llama2-7b", "train"), ("mixtral-8x7b", "decode"),
    ("mixtral-8x7b", "train"), ("gpt2", "decode"), ("gpt2", "train"), ("bert-base-uncased", "train"),
    ("opt-350m", "train"), ("falcon-40b", "prefill"), ("phi-2", "train"), ("mistral-7b", "prefill"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "phase"), NAMED)
def test_nothing_of_a_built_in_model_is_only_streamed(name, phase):
    graph = model(load(name), phase, 1, 64)
    covered = coverage(graph)
    assert sum(entry.lowered for entry in covered.values()) == len(graph.ops)
    assert not any(entry.streamed for entry in covered.values())


@pytest.mark.parametrize(
    ("name", "phase"), [("llama2-7b", "decode"), ("gpt2", "train"), ("bert-base-uncased", "prefill")]
)
def test_multiply_accumulates_are_the_matrix_operations(name, phase):
    """Of a masked attention the cascade's space holds the masked scores too; all else is equal."""
    graph = model(load(name), phase, 2, 32)
    for entry in once_per_kind(graph):
        op = entry.op
        if not op.matrix_ops or (op.kind.startswith("attention") and op.attributes["causal"] and phase != "decode"):
            continue
        counts = count(entry.cascade)
        wanted = [c for c in counts.einsums if MULTIPLY_ACCUMULATE in c.operations and c.name != "DELTA"]
        total = sum(number(c.operations[MULTIPLY_ACCUMULATE], resolve(entry.cascade)) for c in wanted)
        assert 2 * total == op.matrix_ops, op.name


def test_vector_counts_where_they_mean_the_same():
    """Per element: 4 for an RMS norm, 7 for a layer norm, 15 for AdamW, 3 for a rotation; rows count besides."""
    graphs = [model(load("llama2-7b"), "train", 1, 16), model(load("gpt2"), "train", 1, 16)]
    found = {}
    for entry in (entry for graph in graphs for entry in once_per_kind(graph)):
        operations, sizes = count(entry.cascade).operations, resolve(entry.cascade)
        n = sum(number(formula, sizes) * (1 + (kind == MULTIPLY_ACCUMULATE)) for kind, formula in operations.items())
        found[entry.op.kind] = n / max(entry.op.vector_ops, 1)
    for kind in ("rms_norm", "layer_norm", "adamw", "add"):
        assert found[kind] == pytest.approx(1, rel=0.02), kind
    # The sines and cosines are counted too, once per position.
    assert found["rotary"] == pytest.approx(1, rel=0.05)


def test_attention_without_a_mask_counts_what_a_fused_kernel_computes():
    """5 operations per score and one per element of the result; the logarithm of a kept row is one more per row."""
    (entry,) = [e for e in once_per_kind(model(load("llama2-7b"), "decode", 1, 64)) if e.op.kind == "attention"]
    operations, sizes = count(entry.cascade).operations, resolve(entry.cascade)
    products = {MULTIPLY_ACCUMULATE: entry.op.matrix_ops // 2}
    found = {kind: number(formula, sizes) for kind, formula in operations.items()}
    # The sum of exponentials times values is a matrix product; that of exponentials alone is not.
    assert {**found, **products} == found
    assert sum(n for kind, n in found.items() if kind != MULTIPLY_ACCUMULATE) == entry.op.vector_ops


def test_attention_is_lowered_to_two_passes_over_its_keys():
    graph = model(load("llama2-7b"), "prefill", 1, 32)
    (attention,) = [e for e in once_per_kind(graph) if e.op.kind == "attention"]
    assert analyse(attention.cascade, ("m",)).n_passes == 2
    (norm,) = [e for e in once_per_kind(graph) if e.op.kind == "rms_norm"]
    assert analyse(norm.cascade, ("n",)).n_passes == 2


def test_a_printed_cascade_is_the_same_cascade():
    for name in TINY:
        for entry in once_per_kind(model(TINY[name], "train", 1, 4)):
            assert parse_cascade(show_cascade(entry.cascade)) == entry.cascade


def test_layers_share_their_cascades():
    graph = model(load("llama2-7b"), "decode", 1, 16)
    found = {id(entry.cascade) for entry in lower_graph(graph)}
    assert len(found) < 20


def test_an_unknown_kind_is_streamed_with_its_bytes_and_the_reason():
    tensors = {
        "x": Tensor("x", (4,), "float32", TensorKind.INPUT),
        "y": Tensor("y", (4,), "float32", TensorKind.OUTPUT),
    }
    op = Op("strange", "strange", (Access("x", 16),), (Access("y", 16),))
    assert lower_op(op, tensors) is None
    empty = {name: Tensor(name, (0, 4), "float32", tensor.kind) for name, tensor in tensors.items()}
    assert lower_op(Op("add", "add", (Access("x", 0),), (Access("y", 0),)), empty) is None


def test_an_operation_without_a_cascade_needs_a_reason():
    from tierplan.einsum.lower import LoweredOp

    with pytest.raises(InvalidInputError, match="reason"):
        LoweredOp(Op("a", "b", (), ()), None, 0)
