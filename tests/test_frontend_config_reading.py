"""Reading configurations: published sizes, defaults, and every way in which a file can be wrong."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierplan.frontend.architecture import Architecture, Block
from tierplan.frontend.config import read_config
from tierplan.frontend.weights import weights
from tierplan.ir.errors import InvalidInputError
from tierplan.models import load, names

# As published: by the model cards, or by counting the checkpoints.
PUBLISHED = {
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama2-70b": 68_976_648_192,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "opt-125m": 125_239_296,
    "opt-350m": 331_196_416,
    "opt-1.3b": 1_315_758_080,
    "opt-6.7b": 6_658_473_984,
    "falcon-7b": 6_921_720_704,
    "phi-2": 2_779_683_840,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "bert-base-uncased": 109_482_240,
    "bert-large-uncased": 335_141_888,
}


def n_parameters(arch: Architecture) -> int:
    return sum(tensor.n_elements for tensor in weights(arch).tensors("bfloat16"))


def changed(name: str, **fields: Any) -> str:
    return json.dumps(json.loads(load(name)) | fields)


def without(name: str, *fields: str) -> str:
    return json.dumps({key: value for key, value in json.loads(load(name)).items() if key not in fields})


def message(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_config(text, "some/config.json")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(("some/config.json", "'some'"))
    return str(caught.value)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_parameter_counts_are_the_published_ones(name: str, parameters: int) -> None:
    assert n_parameters(read_config(load(name), name)) == parameters


def test_falcon_stores_its_tied_head_twice() -> None:
    arch = read_config(changed("falcon-7b", tie_word_embeddings=False), "falcon")
    assert n_parameters(arch) == 7_217_189_760


@pytest.mark.parametrize("name", names())
def test_every_builtin_is_read_and_named(name: str) -> None:
    arch = read_config(load(name), name)
    assert arch.name == name
    assert re.match("[a-z]+", arch.family)[0] in name


def test_a_config_json_is_named_after_its_folder() -> None:
    assert read_config(load("gpt2"), "models/my-gpt/config.json").name == "my-gpt"
    assert read_config(load("gpt2"), "my-gpt.json").name == "my-gpt"
    assert read_config(load("gpt2"), "config.json").name == "config"


def test_structure_of_the_builtins() -> None:
    llama = read_config(load("llama2-70b"), "llama")
    assert (llama.n_heads, llama.n_kv_heads, llama.head_dim, llama.rotary_dims) == (64, 8, 128, 128)
    assert (llama.block, llama.dtype, llama.activation, llama.tied) == (Block.SEQUENTIAL, "float16", "silu", False)
    falcon = read_config(load("falcon-7b"), "falcon")
    assert (falcon.n_kv_heads, falcon.block, falcon.mlp_norm, falcon.tied) == (1, Block.PARALLEL, False, True)
    falcon40 = read_config(load("falcon-40b"), "falcon")
    assert (falcon40.n_kv_heads, falcon40.mlp_norm, falcon40.ffn) == (8, True, 4 * 8192)
    assert read_config(load("phi-2"), "phi").rotary_dims == 32
    assert read_config(load("mistral-7b"), "mistral").sliding_window == 4096
    assert read_config(load("opt-350m"), "opt").block is Block.POST_NORM


def test_missing_optional_fields_take_the_defaults_of_the_library() -> None:
    llama = read_config(without("llama2-70b", "num_key_value_heads", "torch_dtype", "tie_word_embeddings"), "llama")
    assert (llama.n_kv_heads, llama.dtype, llama.tied) == (64, "bfloat16", False)
    mistral = read_config(without("mistral-7b", "num_key_value_heads", "sliding_window"), "mistral")
    assert (mistral.n_kv_heads, mistral.sliding_window) == (8, 4096)
    assert read_config(changed("mistral-7b", sliding_window=None), "mistral").sliding_window is None
    assert read_config(changed("mistral-7b", num_key_value_heads=None), "mistral").n_kv_heads == 32
    assert read_config(without("phi-2", "partial_rotary_factor"), "phi").rotary_dims == 40
    mixtral = read_config(without("mixtral-8x7b", "num_local_experts", "num_experts_per_tok"), "mixtral")
    assert (mixtral.n_experts, mixtral.experts_per_token, mixtral.sliding_window) == (8, 2, None)
    assert read_config(changed("gpt2", n_inner=100), "gpt2").ffn == 100
    for name in ("opt-1.3b", "falcon-7b", "gpt2"):
        assert read_config(load(name), name).tied, name
    for name in ("mistral-7b", "mixtral-8x7b", "phi-2"):
        assert not read_config(without(name, "tie_word_embeddings"), name).tied, name


def test_other_spellings_that_the_library_accepts() -> None:
    newer = json.loads(without("phi-2", "torch_dtype", "partial_rotary_factor"))
    newer |= {"dtype": "float32", "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.25}}
    phi = read_config(json.dumps(newer), "phi")
    assert (phi.dtype, phi.rotary_dims) == ("float32", 20)
    older = json.loads(without("falcon-7b", "num_hidden_layers", "num_attention_heads"))
    older |= {"model_type": "RefinedWebModel", "n_layer": 32, "n_head": 71}
    assert n_parameters(read_config(json.dumps(older), "falcon")) == PUBLISHED["falcon-7b"]
    assert read_config(without("gpt2", "model_type"), "x").family == "gpt2"
    assert read_config("\ufeff" + load("gpt2"), "x").family == "gpt2"


def test_syntax_errors_tell_line_and_column() -> None:
    assert "line 3, column 1: not valid JSON" in message('{"model_type": "llama",\n"hidden_size": 4096,\n}')
    assert "line 1, column 1: not valid JSON" in message("")
    assert "need a JSON object" in message("[1, 2]")
    assert "nested too deeply" in message("[" * 200_000)
    assert "thousands of digits" in message('{"model_type": ' + "9" * 5000 + "}")
    assert "'vocab_size' stands there twice" in message('{"vocab_size": 1, "vocab_size": 2}')


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_not_a_number_is_refused(number: str) -> None:
    assert number in message(f'{{"model_type": "llama", "hidden_size": {number}}}')


@pytest.mark.parametrize("value", [0, -1, 2.5, "4096", True, [4096], 10**12, 1e400])
def test_impossible_numbers_are_refused_where_they_stand(value: object) -> None:
    text = '{\n  "model_type": "llama",\n  "hidden_size": ' + json.dumps(value).replace("Infinity", "1e400") + "\n}"
    assert message(text).startswith("some/config.json, line 3, column 18: 'hidden_size' ")


@pytest.mark.parametrize("name", names())
def test_every_size_is_needed(name: str) -> None:
    config = json.loads(load(name))
    sizes = {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "n_embd", "n_layer", "n_head"}
    sizes |= {"intermediate_size", "ffn_dim"}
    for field in sizes & set(config):
        assert f"the field '{field}' is missing" in message(without(name, field))


def test_misspelt_fields_are_found() -> None:
    config = json.loads(without("llama2-70b", "num_key_value_heads")) | {"num_key_value_head": 8}
    text = message(json.dumps(config, indent=1))
    assert "'num_key_value_head' is not a known field; did you mean 'num_key_value_heads'?" in text
    assert "line" in text
    config = json.loads(without("llama2-7b", "hidden_size")) | {"hiden_size": 4096}
    assert "'hidden_size' is missing; is 'hiden_size' a misspelling of it?" in message(json.dumps(config))


def test_fields_that_say_nothing_about_the_structure_are_left_alone() -> None:
    fields = {"_name_or_path": "x", "transformers_version": "4.40.0", "rope_scaling": None, "mlp_dropout": 0.1}
    assert n_parameters(read_config(changed("llama2-7b", **fields), "x")) == PUBLISHED["llama2-7b"]


def test_unsupported_architectures_say_which_are_supported() -> None:
    text = message('{"model_type": "lama"}')
    assert "'lama' is not supported (did you mean 'llama'?)" in text
    assert "bert, deepseek_v2, deepseek_v3, falcon, gemma, gemma2" in text
    assert "docs/frontends.md says how to add one" in text
    assert "'mamba'" in message('{"model_type": "mamba"}')
    assert "'Phi3ForCausalLM'" in message('{"architectures": ["Phi3ForCausalLM"]}')
    assert "'model_type' is missing" in message("{}")
    assert "'model_type'" in message('{"model_type": 3}')
    assert "write a plain name" in message('{"model_type": "lla\\nma"}')
    assert "write a plain name" in message(json.dumps({"model_type": "x" * 1000}))


@pytest.mark.parametrize(
    ("name", "fields", "part"),
    [
        ("llama2-7b", {"torch_dtype": "bfloat61"}, "did you mean 'bfloat16'"),
        ("llama2-7b", {"torch_dtype": 16}, "'torch_dtype' is 16; write a string"),
        ("llama2-7b", {"num_key_value_heads": 5}, "'num_key_value_heads' is 5; it must divide the 32"),
        ("llama2-7b", {"num_attention_heads": 31}, "not a multiple of the 31"),
        ("llama2-7b", {"hidden_act": "silou"}, "did you mean 'silu'"),
        ("llama2-7b", {"attention_bias": "no"}, "write true or false"),
        ("llama2-7b", {"num_hidden_layers": 10**7}, "need 1 to 10000"),
        ("mixtral-8x7b", {"num_experts_per_tok": 9}, "there are only 8 experts"),
        ("mixtral-8x7b", {"num_local_experts": 9999, "num_hidden_layers": 9999}, "absurd"),
        ("phi-2", {"partial_rotary_factor": 1.5}, "write a number above 0 and up to 1"),
        ("phi-2", {"partial_rotary_factor": -0.5}, "write a number above 0 and up to 1"),
        ("phi-2", {"rope_parameters": {"partial_rotary_factor": "a"}}, "rope_parameters: 'partial_rotary_factor'"),
        ("phi-2", {"partial_rotary_factor": 0.0126}, "the number must be even"),
        ("bert-base-uncased", {"position_embedding_type": "relative_key"}, "only 'absolute' is supported"),
        ("bert-base-uncased", {"is_decoder": True}, "not supported"),
        ("gpt2", {"add_cross_attention": True}, "not supported"),
    ],
)
def test_impossible_values_are_refused(name: str, fields: dict[str, object], part: str) -> None:
    assert part in message(changed(name, **fields))


def _refusal(text: str) -> str | None:
    """Why a text is refused, or None."""
    try:
        read_config(text, "some/config.json")
    except InvalidInputError as error:
        return str(error)
    return None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.data())
def test_a_broken_configuration_never_crashes(data: st.DataObject) -> None:
    config = json.loads(load(data.draw(st.sampled_from(names()))))
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3)):
        config[key] = data.draw(_JSON)
    text = json.dumps(config, indent=data.draw(st.none() | st.just(2)))
    text = text[: data.draw(st.just(len(text)) | st.integers(0, len(text)))]
    error = _refusal(text)
    assert error is None or "\n" not in error


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_config(text, "x")
