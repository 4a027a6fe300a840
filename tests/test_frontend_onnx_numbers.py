"""The official cases of ONNX's operators, translated, run from the graph alone, and compared with their results."""

import warnings

import numpy as np
import onnx
import pytest
from onnx_run import run_case

from tierplan.frontend.onnx_operators import HANDLERS
from tierplan.ir.errors import InvalidInputError

# What costs the same whichever it is, so that the translation does not tell them apart.
OTHERWISE = (
    "select_last_index",  # which of equals argmax finds
    "training_dropout",  # the training mode of dropout
    "reversesequence",  # lengths of sequences
    "scales_linear_align_corners", "scales_cubic_align_corners", "_antialias", "exclude_outside", "tf_crop_and_resize",
    "_asymmetric", "half_pixel_symmetric", "_floor", "keep_aspect", "spacetodepth_crd", "l2normalization_axis_0",
    "range_float16", "empty_set", "nonpad", "window", "nan_robustness", "qk_matmul",  # masks by lengths, windows
    "UINT4", "INT4", "UINT2", "INT2", "FLOAT8", "FLOAT4", "uint4", "int4", "uint2", "int2", "e4m3fn", "e5m2",
    "float4e2m1", "bf16", "BFLOAT16", "bfloat16", "fp16",  # types that numpy has none of, or with few digits
    "string", "STRING", "seq", "opt", "batch_diagonal", "_expanded",
)  # fmt: skip
STREAMED = ("NonZero", "Compress", "Unique", "NonMaxSuppression")


def cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        ops = [node.op_type for node in case.model.graph.node] if case.model is not None else []
        known = ops and all(op in HANDLERS[""] and op not in STREAMED for op in ops)
        if known and case.data_sets and not any(word in case.name for word in OTHERWISE):
            yield ops[0], case


def wrong(case) -> str:
    """What is wrong with a case's results; '' where nothing is."""
    inputs, outputs = case.data_sets[0]
    try:
        made, graph = run_case(case.model, inputs)
    except (InvalidInputError, KeyError) as error:
        return f"{case.name}: {type(error).__name__}: {error}"
    if any(op.streamed for op in graph.ops):
        return f"{case.name}: streamed {[op.kind for op in graph.ops if op.streamed]}"
    for ours, theirs in zip(made, outputs, strict=False):
        theirs = onnx.numpy_helper.to_array(theirs) if isinstance(theirs, onnx.TensorProto) else theirs
        if ours.size != theirs.size:
            return f"{case.name}: shape {ours.shape}, not {theirs.shape}"
        theirs = theirs.astype(np.float64)
        if not np.allclose(ours.reshape(theirs.shape).astype(np.float64), theirs, rtol=1e-3, atol=1e-5, equal_nan=True):
            return f"{case.name}: other numbers"
    return ""


def test_two_official_cases_of_every_operator() -> None:
    n_seen, broken = {}, []
    for op, case in cases():
        n_seen[op] = n_seen.get(op, 0) + 1
        if n_seen[op] <= 2:
            broken.append(wrong(case))
    assert [text for text in broken if text] == []
    assert len(n_seen) > 120


@pytest.mark.slow
def test_all_official_cases() -> None:
    texts = [wrong(case) for _, case in cases()]
    assert [text for text in texts if text] == []
    assert len(texts) > 700
