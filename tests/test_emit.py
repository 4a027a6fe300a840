"""Plans as flags and maps of runtimes: tensors land where the plan keeps them by the runtimes' own rules."""

import itertools
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import Q4_K, llama_gguf, llama_metadata, write_gguf
from test_cli_bad_input import refused
from test_cli_commands import Run, json_of, run

from tierplan.frontend.config import read_config
from tierplan.ir.errors import InvalidInputError
from tierplan.ir.machine import Link, Machine, Tier, Unit
from tierplan.ir.outcome import Status
from tierplan.ir.plan import Plan, Residency
from tierplan.ir.plan_file import PlanFile
from tierplan.models import load
from tierplan.programs import Shaping, describe, read_program
from tierplan.runtimes.accelerate import collapsed
from tierplan.runtimes.asked import read_asked
from tierplan.runtimes.emitted import Emitted, Wanted, emit
from tierplan.runtimes.gguf_names import gguf_names
from tierplan.runtimes.llama_cpp import split_of
from tierplan.sim.lowering import lower

__all__ = ["run"]

VRAM, DDR, FLASH = 0, 1, 2
_UNIT = Unit("unit", {"float32": 1e12})
TIERS = (
    Tier("vram", 10**12, 1e12, 1e12), Tier("ddr", 10**12, 1e11, 1e11, read_link="up", write_link="down"),
    Tier("flash", 10**12, 1e9, 1e9, latency_s=5e-5, direct=False),
)  # fmt: skip
LINKS = (Link("up", "ddr", "vram", 1e10), Link("down", "vram", "ddr", 1e10), Link("load", "flash", "ddr", 1e9))
MACHINE = Machine("three", _UNIT, _UNIT, TIERS, LINKS, "vram")
NO_GPU = Machine("box", _UNIT, _UNIT, (Tier("dram", 10**12, 1e11, 1e11),), (), "dram")


def placed(
    spec: str, where: Callable[[str], int], shaping: Shaping | None = None, machine: Machine = MACHINE
) -> PlanFile:
    """A plan file that keeps each weight and state of a model where `where` says, all the time."""
    shaping = shaping or Shaping(context=64)
    graph = read_program(spec, shaping)
    problem = lower(graph, machine)
    rows = enumerate(zip(problem.tensor_names, problem.tensor_kind, strict=True))
    stays = [(i, name) for i, (name, kind) in rows if kind in ("weight", "state")]
    plan = Plan(tuple(Residency(i, where(name), 0, 0, problem.n_steps) for i, name in stays))
    description = describe(graph, shaping, spec)
    return PlanFile("0", description, machine.name, "by hand", Status.FEASIBLE, 1.0, 0.0, problem, plan)


def small_gguf(folder: Path, layers: int = 4, **metadata: Any) -> str:
    fields = llama_metadata(256, layers, 4, 2, 512) | metadata
    return str(write_gguf(folder / "m.gguf", fields, llama_gguf(256, layers, 128, 512, 64)))


def moe_gguf(folder: Path, layers: int = 4) -> str:
    tensors = llama_gguf(256, layers, 128, 512, 64)
    for layer in range(layers):
        for name, shape in {"gate": (4, 512, 256), "up": (4, 512, 256), "down": (4, 256, 512)}.items():
            del tensors[f"blk.{layer}.ffn_{name}.weight"]
            tensors[f"blk.{layer}.ffn_{name}_exps.weight"] = (shape, Q4_K)
        tensors[f"blk.{layer}.ffn_gate_inp.weight"] = ((4, 256), 0)
    fields = llama_metadata(256, layers, 4, 2, 512) | {"llama.expert_count": 4, "llama.expert_used_count": 2}
    return str(write_gguf(folder / "moe.gguf", fields, tensors))


# llama.cpp's rules, written here anew: arguments into overrides, then the buffer of each tensor.


def on_cpu(text: str, names: list[str], n_layers: int) -> set[str]:
    words = shlex.split(text)
    n_gpu_layers, overrides = 0, list[tuple[str, str]]()
    for option, value in zip(words, [*words[1:], ""], strict=True):
        if option == "-ngl":
            n_gpu_layers = int(value)
        if option == "--n-cpu-moe":
            overrides += [(rf"blk\.{i}\.ffn_(up|down|gate|gate_up)_(ch|)exps", "CPU") for i in range(int(value))]
        if option == "-ot":
            for part in value.split(","):
                pattern, _, buffer = part.partition("=")
                overrides.append((pattern, buffer))
    found: set[str] = set()
    for name in names:
        hits = [buffer for pattern, buffer in overrides if re.search(pattern, name)]
        assert len(hits) <= 1, (name, hits)
        assert set(hits) <= {"CPU"}
        layer = int(name.split(".")[1]) if name.startswith("blk.") else n_layers
        by_layer = layer < max(n_layers + 1 - n_gpu_layers, 0) or name.startswith("token_embd")
        if hits or by_layer:
            found.add(name)
    return found


def llama(file: PlanFile, model: str | None = None) -> Emitted:
    return emit(file, "llama.cpp", Wanted(model))


def weights_of(file: PlanFile) -> list[str]:
    rows = zip(file.problem.tensor_names, file.problem.tensor_kind, strict=True)
    return [name for name, kind in rows if kind == "weight"]


def of_layers(name: str, first: int) -> bool:
    return name.startswith("blk.") and int(name.split(".")[1]) < first


def test_all_on_the_gpu_needs_no_pattern(tmp_path: Path) -> None:
    emitted = llama(placed(small_gguf(tmp_path), lambda name: VRAM))
    assert emitted.text == "-ngl 5 -c 64 -ctk f16 -ctv f16"
    assert any(note.startswith("token_embd ") and "always lies on the CPU" in note for note in emitted.approximated)


def test_first_layers_off_the_gpu_with_their_cache_are_left_out_of_ngl(tmp_path: Path) -> None:
    emitted = llama(placed(small_gguf(tmp_path), lambda name: DDR if of_layers(name, 2) else VRAM))
    assert emitted.text.startswith("-ngl 3 -c ")


def test_layers_off_the_gpu_whose_cache_is_on_it_are_patterns(tmp_path: Path) -> None:
    file = placed(small_gguf(tmp_path), lambda name: DDR if of_layers(name, 2) and "cache" not in name else VRAM)
    emitted = llama(file)
    assert emitted.text.startswith("-ngl 5 -ot '^blk\\.(0|1)\\.")
    assert on_cpu(emitted.text, weights_of(file), 4) == {n for n in weights_of(file) if of_layers(n, 2)} | {
        "token_embd.weight"
    }


def test_nothing_on_the_gpu_and_a_machine_without_one(tmp_path: Path) -> None:
    path = small_gguf(tmp_path)
    assert llama(placed(path, lambda name: DDR)).text.startswith("-ngl 0 -c ")
    assert llama(placed(path, lambda name: 0, machine=NO_GPU)).text.startswith("-ngl 0 -c ")


def test_experts_of_the_first_layers_have_an_option_of_their_own(tmp_path: Path) -> None:
    path = moe_gguf(tmp_path)
    first = placed(path, lambda name: DDR if "_exps" in name and of_layers(name, 2) else VRAM)
    assert llama(first).text.startswith("-ngl 5 --n-cpu-moe 2 -c ")
    others = placed(path, lambda name: DDR if "_exps" in name and not of_layers(name, 2) else VRAM)
    assert "--n-cpu-moe" not in llama(others).text
    assert "ffn_gate_exps" in llama(others).text


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("kind", ["dense", "experts"])
def test_every_tensor_lands_where_it_belongs_by_one_pattern_at_most(kind: str, data: st.DataObject) -> None:
    suffixes = ["attn_q.weight", "attn_norm.weight", "attn_output.weight", "ffn_norm.weight", "ffn_up.weight"]
    if kind == "experts":
        suffixes += ["ffn_gate_inp.weight", *(f"ffn_{name}_exps.weight" for name in ("gate", "up", "down"))]
    n_layers = data.draw(st.integers(1, 13))
    names = ["token_embd.weight", *(f"blk.{i}.{s}" for i in range(n_layers) for s in suffixes)]
    names += ["output_norm.weight", "output.weight"]
    first = data.draw(st.integers(0, n_layers))
    cpu = {name for name in names if of_layers(name, first)} | set(data.draw(st.lists(st.sampled_from(names))))
    caches = {i: i < data.draw(st.integers(0, n_layers)) for i in range(n_layers)}
    split = split_of(cpu, names, n_layers, caches)
    words = ["-ngl", str(split.n_gpu_layers), "--n-cpu-moe", str(split.n_cpu_moe)]
    text = shlex.join([*words, *(word for pattern in split.patterns for word in ("-ot", f"{pattern}=CPU"))])
    assert on_cpu(text, names, n_layers) == cpu | {"token_embd.weight"}
    assert not any("," in pattern for pattern in split.patterns)


def test_lengths_and_types_of_the_cache(tmp_path: Path) -> None:
    path = small_gguf(tmp_path)
    emitted = llama(placed(path, lambda name: VRAM, Shaping(batch=3, context=32, dtype="int8")))
    assert emitted.text == "-ngl 5 -c 96 -np 3 -ctk q8_0 -ctv q8_0 -fa on"
    with pytest.raises(InvalidInputError, match="no cache of type float8_e5m2"):
        llama(placed(path, lambda name: VRAM, Shaping(context=32, dtype="float8_e5m2")))


def test_most_of_the_cache_decides_where_all_of_it_lies(tmp_path: Path) -> None:
    path = small_gguf(tmp_path)
    most = placed(path, lambda name: DDR if "cache" in name and not name.startswith("blk.3") else VRAM)
    assert "--no-kv-offload" in llama(most).text.split()
    few = placed(path, lambda name: DDR if name.startswith("blk.3.k_cache") else VRAM)
    assert "--no-kv-offload" not in llama(few).text.split()
    assert any("the cache of layers" in note for note in llama(few).approximated)


def test_what_lies_on_disk_is_mapped(tmp_path: Path) -> None:
    emitted = llama(placed(small_gguf(tmp_path), lambda name: FLASH if "ffn_down" in name else VRAM))
    assert "ffn_down" in emitted.text
    assert any("paged in" in note for note in emitted.approximated)


@pytest.mark.parametrize(
    ("model", "n", "some"),
    [
        ("llama2-7b", 32 * 9 + 3, {"blk.31.ffn_gate.weight": ("model.layers.31.mlp.gate_proj.weight",)}),
        ("gpt2", 12 * 12 + 4, {"blk.0.attn_qkv.bias": ("transformer.h.0.attn.c_attn.bias",)}),
        ("gemma2-9b", 42 * 11 + 2, {
            "blk.1.post_ffw_norm.weight": ("model.layers.1.post_feedforward_layernorm.weight",),
        }),
        ("qwen3-30b-a3b", 48 * 12 + 3, {
            "blk.5.ffn_up_exps.weight": ("model.layers.5.mlp.experts.gate_up_proj",),
            "blk.5.ffn_down_exps.weight": ("model.layers.5.mlp.experts.down_proj",),
        }),
    ],
)  # fmt: skip
def test_names_of_configurations_are_those_of_gguf_files(model: str, n: int, some: dict[str, tuple[str, ...]]) -> None:
    arch: Any = read_config(load(model), model)
    table = gguf_names(arch)
    assert len(table) == n
    assert {name: table[name] for name in some} == some


def test_every_weight_of_every_model_that_llama_cpp_runs_has_a_name() -> None:
    from tierplan.frontend.weights import weights

    for model in ("mixtral-8x7b", "deepseek-v2-lite", "deepseek-v3", "falcon-40b", "falcon-7b", "phi-2", "qwen2-7b"):
        arch: Any = read_config(load(model), model)
        named = {planned for names in gguf_names(arch).values() for planned in names}
        assert named == {name for name, _ in weights(arch).shapes()}, model


def test_experts_of_a_checkpoint_go_where_most_of_their_stack_lies(tmp_path: Path) -> None:
    config = json.loads(load("mixtral-8x7b")) | {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))

    def where(name: str) -> int:
        expert = re.search(r"experts\.(\d+)\.", name)
        return DDR if expert and int(expert.group(1)) < 6 else VRAM

    emitted = llama(placed(str(tmp_path / "config.json"), where))
    assert "--n-cpu-moe 2" in emitted.text
    assert any("that the plan keeps apart" in note for note in emitted.approximated)


@pytest.mark.parametrize(
    ("runtime", "spec", "shaping", "machine", "said"),
    [
        ("llama.cpp", "whisper-tiny", None, MACHINE, "has an encoder too"),
        ("llama.cpp", "opt-125m", None, MACHINE, "no tensor names of GGUF"),
        ("llama.cpp", "gpt2", Shaping(phase="train", context=8), MACHINE, "does not train"),
        ("accelerate", "{gguf}", None, MACHINE, "a .gguf file has none"),
        ("vllm", "gpt2", None, NO_GPU, "needs a GPU, and 'box' has none"),
        ("vllm", "t5-base", None, MACHINE, "does not run models of the family t5"),
        ("vllm", "gpt2", Shaping(phase="train", context=8), MACHINE, "vllm does not train"),
        ("vllm", "gpt2", Shaping(dtype="int8", context=8), MACHINE, "need a quantised checkpoint"),
        ("lama.cpp", "gpt2", None, MACHINE, "did you mean 'llama.cpp'?"),
    ],
)
def test_what_a_runtime_cannot_do_is_told(
    tmp_path: Path, runtime: str, spec: str, shaping: Shaping | None, machine: Machine, said: str
) -> None:
    file = placed(spec.format(gguf=small_gguf(tmp_path)), lambda name: 0, shaping, machine)
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        emit(file, runtime)


@pytest.mark.parametrize(("part", "tier", "said"), [("cache", DDR, "cache of running"), ("mlp", FLASH, "on disk")])
def test_vllm_refuses_what_must_lie_on_its_gpu(part: str, tier: int, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        emit(placed("gpt2", lambda name: tier if part in name else VRAM), "vllm")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("layers.py:layer", "--emit", "vllm"), "is no language model"),
        (("gpt2", "--emit", "jax"), "is no JAX function"),
        (("gpt2", "--phase", "train", "--emit", "llama.cpp"), "does not train"),
        (("gpt2", "--phase", "serve", "--prompt", "8", "--new", "8", "--emit", "vllm"), "is a mean turn"),
    ],
)
def test_what_cannot_be_emitted_is_refused_before_it_is_planned(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(run, "plan", *arguments, "-H", "laptop")


def test_an_old_plan_for_another_model_names_the_mismatch(tmp_path: Path) -> None:
    file = placed(small_gguf(tmp_path), lambda name: VRAM)
    (tmp_path / "other").mkdir()
    with pytest.raises(InvalidInputError, match=r"it places 'blk\.3\..*', which '.*' does not have; plan again"):
        llama(file, small_gguf(tmp_path / "other", layers=3))
    with pytest.raises(InvalidInputError, match=r"has 'blk\.4\..*', which the plan does not place"):
        llama(file, small_gguf(tmp_path / "other", layers=5))
    Path(small_gguf(tmp_path)).unlink()
    with pytest.raises(InvalidInputError, match="if the model has moved, name it with --model"):
        llama(file)
    write_gguf(tmp_path / "m.gguf", llama_metadata(256, 4, 4, 2, 512), llama_gguf(256, 4, 128, 512, 64, 8))
    with pytest.raises(InvalidInputError, match=r"'.*weight' has .* in the plan and .* in"):
        llama(file)


@pytest.mark.parametrize(
    ("description", "spec", "shaping", "beyond"),
    [
        ("llama2-7b (llama2-7b decode)", "llama2-7b", Shaping(), {}),
        ("a b.gguf --batch 2 --context 9", "a b.gguf", Shaping(batch=2, context=9), {}),
        ("m:f --shapes f32[8,8] --cyclic", "m:f", Shaping(shapes="f32[8,8]", cyclic=True), {}),
        ("x (x decode) --routing zipf:0.8", "x", Shaping(), {"routing": "zipf:0.8"}),
    ],
)
def test_descriptions_are_read_as_they_are_written(
    description: str, spec: str, shaping: Shaping, beyond: dict[str, str]
) -> None:
    asked = read_asked(description)
    assert (asked.spec, asked.shaping, asked.beyond) == (spec, shaping, beyond)


# accelerate's own functions, on modules made of the planned names


def module_of(shapes: dict[str, tuple[int, ...]]) -> Any:
    torch = pytest.importorskip("torch")
    root = torch.nn.Module()
    for name, shape in shapes.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_parameter(last, torch.nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False))
    return root


@pytest.mark.parametrize("model", ["gpt2", "qwen2.5-0.5b", "opt-125m", "t5-base"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_accelerate_takes_the_map_and_finds_every_weight_where_the_plan_has_it(model: str) -> None:
    modeling = pytest.importorskip("accelerate.utils.modeling")

    def where(name: str) -> int:
        return (
            FLASH
            if "final" in name or "ln_f" in name
            else DDR
            if re.search(r"\.(1|5)\..*(mlp|fc|Dense)", name)
            else VRAM
        )

    file = placed(model, where)
    emitted = emit(file, "accelerate")
    found: dict[str, Any] = {}
    exec(emitted.text, found)
    shapes = {t.name: t.shape for t in read_program(model, Shaping(context=64)).tensors if t.kind.value == "weight"}
    if model in ("gpt2", "qwen2.5-0.5b", "opt-125m"):
        shapes["lm_head.weight"] = next(iter(shapes.values()))
    module = module_of(shapes)
    modeling.check_device_map(module, found["device_map"])
    with pytest.raises(ValueError):
        modeling.check_device_map(module, dict(list(found["device_map"].items())[1:]))
    called = {VRAM: 0, DDR: "cpu", FLASH: "disk"}
    for name in shapes:
        if name != "lm_head.weight":
            keys = [key for key in found["device_map"] if f"{name}.".startswith(f"{key}." if key else "")]
            assert len(keys) == 1
            planned = name in file.problem.tensor_names
            assert found["device_map"][keys[0]] == (called[where(name)] if planned else "cpu")
    assert set(modeling.infer_auto_device_map(module, found["max_memory"]).values()) <= {0, "cpu", "disk"}
    assert emitted.values["device_map"] == found["device_map"]


_NAMES = [".".join(parts) for parts in itertools.product("ab", repeat=4)]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), st.sampled_from([0, "cpu"]), min_size=1))
def test_collapsed_maps_say_the_same(modules: dict[str, int | str]) -> None:
    found = collapsed(modules)
    for name, device in modules.items():
        keys = [key for key in found if f"{name}.".startswith(f"{key}." if key else "")]
        assert len(keys) == 1
        assert found[keys[0]] == device
    if len(set(modules.values())) == 1:
        assert found == {"": next(iter(modules.values()))}


def test_a_bias_lies_with_its_matrix() -> None:
    emitted = emit(placed("gpt2", lambda name: DDR if name.endswith("h.0.mlp.c_fc.bias") else VRAM), "accelerate")
    assert emitted.values["device_map"] == {"": 0}
    assert any("1 biases lie with their matrix" in note for note in emitted.approximated)


def test_vllm_counts_offloaded_gibibytes_per_gpu() -> None:
    file = placed("gpt2", lambda name: DDR if "mlp" in name else VRAM, Shaping(batch=2, context=128, dtype="bf16"))
    back = sum(int(s) for n, s in zip(file.problem.tensor_names, file.problem.size, strict=True) if "mlp" in n and (
        n.endswith(("weight", "bias"))))  # fmt: skip
    one = emit(file, "vllm").text.split()
    assert one[one.index("--max-model-len") + 1] == "128"
    assert one[one.index("--max-num-seqs") + 1] == "2"
    assert one[one.index("--dtype") + 1] == "bfloat16"
    gib = float(one[one.index("--cpu-offload-gb") + 1])
    assert 0 <= gib - back / 2**30 < 0.01
    two = emit(file, "vllm", Wanted(gpus=2)).text.split()
    assert 0 <= float(two[two.index("--cpu-offload-gb") + 1]) - back / 2**31 < 0.01
    assert two[two.index("--tensor-parallel-size") + 1] == "2"
    with pytest.raises(InvalidInputError, match="leave --gpus out"):
        emit(file, "llama.cpp", Wanted(gpus=2))


HARDWARE = """\
schema: 1
name: pc
home: vram
compute:
  matrix: {float16: 1 Tflop/s}
  vector: {float32: 1 Tflop/s}
tiers:
  - {name: vram, capacity: 1500 kB, bandwidth: 100 GB/s}
  - {name: ddr, capacity: 100 MB, bandwidth: 10 GB/s, read_link: ddr->vram, write_link: vram->ddr}
links:
  - {from: ddr, to: vram, bandwidth: 5 GB/s, duplex: true}
"""


def test_the_command_line_prints_nothing_else_on_standard_output(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pc.yaml").write_text(HARDWARE)
    path = Path(small_gguf(tmp_path)).name
    planned = run(
        "plan", path, "-H", "pc.yaml", "--planner", "greedy", "--context", "64", "-o", "p.json", "--emit", "llama.cpp"
    )
    assert planned.code == 0
    assert planned.out.count("\n") == 1
    assert planned.out.startswith("-ngl ")
    assert "what lies where" in planned.err
    assert "# approximated: " in planned.err
    again = run("emit", "p.json", "--for", "llama.cpp")
    assert (again.code, again.out) == (0, planned.out)
    assert all(line.startswith("# approximated: ") for line in again.err.splitlines())
    row = json_of(run("emit", "p.json", "--for", "llama.cpp", "--json"))
    assert shlex.split(row["text"]) == row["values"]["arguments"]
    both = json_of(
        run("plan", path, "-H", "pc.yaml", "--planner", "greedy", "--context", "64", "--emit", "vllm", "--json")
    )
    assert both["emitted"]["runtime"] == "vllm"
    assert both["predicted"] is not None
    assert run("emit", "p.json", "--for", "llama").code == 2
    assert "did you mean 'vllm'?" in run("plan", path, "-H", "pc.yaml", "--emit", "vlm").err
    (tmp_path / "p.json").write_text(json.dumps({"schema": 1}))
    assert run("emit", "p.json", "--for", "vllm").code == 2


def test_one_device_of_several_is_not_emitted(run: Run) -> None:
    refused = run("plan", "llama3-8b", "-H", "h100", "--tp", "2", "--emit", "vllm")
    assert refused.code == 2
    assert "tierplan emit PLAN --for vllm --gpus N" in refused.err
