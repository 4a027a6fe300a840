"""Programs in the JSON of .pt2 archives, written by hand, so that torch is not needed."""

import io
import json
import zipfile


def tensor(*shape, dtype=7):
    return {"dtype": dtype, "sizes": [{"as_int": extent} for extent in shape], "requires_grad": False}


def ref(name):
    return {"as_tensor": {"name": name}}


def node(op, results, **arguments):
    """A call; arguments are references (texts), numbers, or lists of either."""
    given = [{"name": name, "arg": _given(value), "kind": 1} for name, value in arguments.items()]
    outputs = [ref(name) for name in results]
    return {"target": f"torch.ops.aten.{op}", "inputs": given, "outputs": outputs, "metadata": {}}


def _given(value):
    if value is None:
        return {"as_none": True}
    if isinstance(value, str):
        return ref(value)
    if isinstance(value, bool):
        return {"as_bool": value}
    if isinstance(value, int):
        return {"as_int": value}
    if isinstance(value, float):
        return {"as_float": value}
    if value and isinstance(value[0], str):
        return {"as_tensors": [{"name": name} for name in value]}
    return {"as_ints": list(value)}


def program(inputs, nodes, outputs, values, mutations=()):
    """A document; `inputs` are (kind, name, name in the module)."""
    specs = []
    for kind, name, target in inputs:
        if kind == "user_input":
            specs.append({kind: {"arg": ref(name)}})
        else:
            specs.append({kind: {"arg": {"name": name}, f"{kind}_name": target, "persistent": True}})
    made = [{"buffer_mutation": {"arg": {"name": new}, "buffer_name": old}} for old, new in mutations]
    made += [{"user_output": {"arg": ref(name)}} for name in outputs]
    graph = {"inputs": [], "outputs": [], "nodes": nodes, "tensor_values": values, "sym_int_values": {}}
    signature = {"input_specs": specs, "output_specs": made}
    return {
        "graph_module": {"graph": graph, "signature": signature, "module_call_graph": []},
        "schema_version": {"major": 8, "minor": 20},
    }


MLP = program(
    [
        ("parameter", "p_w", "up.weight"), ("parameter", "p_b", "up.bias"), ("buffer", "b_n", "n"),
        ("user_input", "x", ""),
    ],
    [
        node("linear.default", ["linear"], input="x", weight="p_w", bias="p_b"),
        node("gelu.default", ["gelu"], self="linear"),
        node("add.Tensor", ["add"], self="b_n", other=1),
        node("softmax.int", ["softmax"], self="gelu", dim=-1),
    ],
    ["softmax"],
    {
        "p_w": tensor(16, 8), "p_b": tensor(16), "b_n": tensor(3), "x": tensor(4, 8), "linear": tensor(4, 16),
        "gelu": tensor(4, 16), "add": tensor(3), "softmax": tensor(4, 16),
    },
    [("n", "add")],
)  # fmt: skip

CONV = program(
    [("parameter", "p_w", "conv.weight"), ("user_input", "x", "")],
    [
        node("conv2d.default", ["conv"], input="x", weight="p_w", bias=None, stride=[2, 2], padding=[1, 1]),
        node("relu.default", ["relu"], self="conv"),
        node("max_pool2d.default", ["pool"], self="relu", kernel_size=[2, 2]),
        node("view.default", ["view"], self="pool", size=[1, -1]),
        node("cat.default", ["cat"], tensors=["view", "view"], dim=1),
        node("slice.Tensor", ["slice"], self="cat", dim=1, start=0, end=7),
    ],
    ["slice"],
    {
        "p_w": tensor(6, 3, 3, 3), "x": tensor(1, 3, 8, 8), "conv": tensor(1, 6, 4, 4), "relu": tensor(1, 6, 4, 4),
        "pool": tensor(1, 6, 2, 2), "view": tensor(1, 24), "cat": tensor(1, 48), "slice": tensor(1, 7),
    },
)  # fmt: skip

ALL = (MLP, CONV)


def text(document):
    return json.dumps(document).encode()


def archive(content):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("m/data/weights/weight_0", b"cos\nsystem\n(S'false'\ntR.")  # a pickle that must never run
        out.writestr("m/models/model.json", content)
    return made.getvalue()
