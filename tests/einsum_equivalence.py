"""Whether two cascades are the same but for the names of what they compute."""

from dataclasses import replace

from tierplan.einsum.cascade import Cascade
from tierplan.einsum.expressions import Access, rewrite
from tierplan.einsum.printer import show_einsum


def canonical(cascade: Cascade) -> tuple[set[str], set[str]]:
    """Einsums as text with tensors named by how they are computed from the inputs, `init` apart."""
    names = {name: name for name in (*cascade.inputs, *cascade.outputs)}
    definitions = {e.name: e for e in cascade}
    order = [n for n in definitions if n not in names]
    # A tensor's name is the text of its definition with the names inside left out; ties are told apart by depth.
    label = dict.fromkeys(order, "T")
    for _ in range(len(order) + 1):
        label = {n: str(abs(hash(_text(definitions[n], {**label, **names})))) for n in order}
    unique = {n: f"T{sorted(label.values()).index(label[n])}" for n in order}
    both = {**unique, **names}
    return {_text(e, both) for e in cascade.init}, {_text(e, both) for e in cascade.einsums}


def _text(einsum, names):
    def change(node):
        if not isinstance(node, Access):
            return node
        name = names.get(node.tensor, node.tensor)
        return replace(node, tensor=name if name[0].isalpha() else f"T{name}")

    renamed = replace(einsum, output=change(einsum.output), expression=rewrite(einsum.expression, change))
    return show_einsum(renamed)
