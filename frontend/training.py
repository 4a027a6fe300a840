"""A training step: the loss, the backward pass and the optimizer, after a forward pass.

Assumes: mixed precision as is usual: weights, activations and gradients in the element type of the workload; the
optimizer keeps a float32 master copy of each weight (none where the weights are that wide already) and two float32
moments, and runs after the whole backward pass, as it must where gradients are clipped by their norm.
Source: Loshchilov and Hutter, Decoupled weight decay regularization, 2019, algorithm 2 (AdamW);
    Micikevicius et al., Mixed precision training, 2018, section 3.1 (master weights).
"""

from collections.abc import Sequence

from tierplan.frontend.gradients import backward
from tierplan.frontend.tape import Tape
from tierplan.ir.dtypes import BITS
from tierplan.ir.graph import TensorKind

_ADAMW_OPS = 15
_CROSS_ENTROPY_OPS = 5


def train(tape: Tape, outputs: Sequence[str], *, causal: bool) -> None:
    """Add the rest of a training step to a tape that holds the forward pass.

    `outputs` are the logits of a model that is `causal`, or the outputs of an encoder.
    """
    gradients = _cross_entropy(tape, outputs[0]) if causal else _encoder_loss(tape, outputs)
    for weight, gradient in backward(tape, gradients).items():
        _adamw(tape, weight, gradient)


def _cross_entropy(tape: Tape, logits: str) -> dict[str, str]:
    """Cross-entropy of the next token; returns the gradient of the logits.

    Assumes: forward and backward are operations of their own; the forward one keeps the log-sum-exp of each row.
    """
    tensor = tape.tensors[logits]
    batch, context = tensor.shape[:2]
    targets = tape.tensor("labels", (batch, context), TensorKind.INPUT, "int64")
    loss = tape.tensor("loss", (), TensorKind.OUTPUT, "float32")
    kept = tape.tensor("loss.log_sum_exp", (batch, context), dtype="float32")
    gradient = tape.tensor(f"{logits}.grad", tensor.shape)
    vector_ops = _CROSS_ENTROPY_OPS * tensor.n_elements
    tape.op("loss", "cross_entropy", [logits, targets], [loss, kept], vector_ops=vector_ops)
    # subtract, exponential, subtract the target, scale
    tape.op("loss.grad", "cross_entropy_grad", [logits, targets, kept], [gradient], vector_ops=4 * tensor.n_elements)
    return {logits: gradient}


def _encoder_loss(tape: Tape, outputs: Sequence[str]) -> dict[str, str]:
    """A loss on the outputs of an encoder; returns their gradients.

    Assumes: two vector operations per element, forward and backward. The head that a task puts on an encoder is
        not part of its configuration.
    """
    n_elements = sum(tape.tensors[name].n_elements for name in outputs)
    loss = tape.tensor("loss", (), TensorKind.OUTPUT, "float32")
    gradients = {name: f"{name}.grad.loss" for name in outputs}
    for name, gradient in gradients.items():
        tape.tensor(gradient, tape.tensors[name].shape)
    tape.op("loss", "loss", outputs, [loss], vector_ops=2 * n_elements)
    tape.op("loss.grad", "loss_grad", outputs, list(gradients.values()), vector_ops=2 * n_elements)
    return gradients


def _adamw(tape: Tape, weight: str, gradient: str) -> None:
    """Update a weight, its moments and, where it has one, its master copy.

    Assumes: 15 vector operations per element: 3 for the first moment, 4 for the second, 2 to correct their bias,
        3 for the quotient with its root, 3 for the decay and the step.
    """
    tensor = tape.tensors[weight]
    wide = tensor.dtype if BITS[tensor.dtype] >= BITS["float32"] else "float32"
    states = ["exp_avg", "exp_avg_sq"] if wide == tensor.dtype else ["exp_avg", "exp_avg_sq", "master"]
    names = [tape.tensor(f"optimizer.{weight}.{state}", tensor.shape, TensorKind.STATE, wide) for state in states]
    reads = [gradient, *names] if "master" in states else [gradient, *names, weight]
    vector_ops = _ADAMW_OPS * tensor.n_elements
    tape.op(f"optimizer.{weight}", "adamw", reads, [*names, weight], vector_ops=vector_ops, dtype=wide)
