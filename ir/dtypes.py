"""Element types: their names, the ways people write them, and their widths in bits."""

from tierplan.ir.errors import unknown_name

BITS: dict[str, int] = {
    "float64": 64, "float32": 32, "bfloat16": 16, "float16": 16,
    "float8_e4m3fn": 8, "float8_e5m2": 8, "float4_e2m1fn": 4,
    "complex64": 64, "complex128": 128,
    "int64": 64, "int32": 32, "int16": 16, "int8": 8, "int4": 4, "int2": 2,
    "uint64": 64, "uint32": 32, "uint16": 16, "uint8": 8, "uint4": 4, "uint2": 2,
    "bool": 8,
}  # fmt: skip

_ALIASES = {
    "fp64": "float64", "f64": "float64", "double": "float64",
    "fp32": "float32", "f32": "float32", "float": "float32",
    "bf16": "bfloat16",
    "fp16": "float16", "f16": "float16", "half": "float16",
    "fp8": "float8_e4m3fn", "f8": "float8_e4m3fn", "fp4": "float4_e2m1fn",
    "i64": "int64", "i32": "int32", "i16": "int16", "i8": "int8", "i4": "int4",
    "u32": "uint32", "u8": "uint8",
}  # fmt: skip


def dtype_name(text: str) -> str:
    """The canonical name of an element type.

    >>> dtype_name("bf16"), dtype_name("torch.float16")
    ('bfloat16', 'float16')
    """
    name = text.strip().lower().removeprefix("torch.")
    name = _ALIASES.get(name, name)
    if name not in BITS:
        raise unknown_name("dtype", text, [*BITS, *_ALIASES])
    return name


def size_bytes(n_elements: int, dtype: str) -> int:
    """Bytes of a dense array, rounded up to whole bytes.

    >>> size_bytes(3, "int4")
    2
    """
    return -(-n_elements * BITS[dtype] // 8)
