"""Vision transformers.

Source: ViTConfig of the transformers library.
"""

from typing import cast

from tierplan.frontend import values
from tierplan.frontend.architecture import Architecture, Block, Patches
from tierplan.frontend.fields import Fields
from tierplan.ir.errors import InvalidInputError


def vit(fields: Fields) -> Architecture:
    """ViT: an image in patches, one more token for the class, and a pooler or a classifier at the end."""
    hidden, n_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    side, patch = fields.count("image_size", default=224), fields.count("patch_size", default=16)
    if side % patch or side > 10**5:
        raise InvalidInputError(f"{fields.source}: an image of {side} pixels is not cut into patches of {patch}")
    patches = Patches(side, patch, fields.count("num_channels", default=3), _classes(fields))
    head_dim = values.head_dim(fields, hidden, n_heads)
    return Architecture(
        name=fields.model,
        family="vit",
        dtype=values.dtype(fields),
        hidden=hidden,
        n_layers=fields.count("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=head_dim,
        ffn=fields.count("intermediate_size"),
        vocab=0,
        max_positions=patches.n + 1,
        embedding_width=hidden,
        activation=values.activation(fields, "hidden_act", "gelu"),
        tied=False,
        block=Block.SEQUENTIAL,
        qkv_bias=fields.flag("qkv_bias", True),
        out_bias=True,
        mlp_bias=True,
        token_types=1,
        patches=patches,
    )


def _classes(fields: Fields) -> int:
    """Outputs of the classifier, where the configuration is of a model that has one; 2 where no labels are named."""
    listed = fields.listed("architectures") or []
    if not any(str(entry) == "ViTForImageClassification" for entry in listed):
        return 0
    if fields.found("id2label") and isinstance(fields.values["id2label"], dict):
        return len(cast("dict[str, object]", fields.values["id2label"])) or 2
    return fields.count("num_labels", default=2)
