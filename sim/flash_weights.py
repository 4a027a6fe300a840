"""How many bytes a model's parts take: what the models of flash and of experts need of it."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction

from tierplan.ir.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class FeedForwardWeights:
    """The feed-forward matrices of a model: per neuron, one row or column of each of `n_matrices`.

    Two matrices stand around an activation function; three where a gate multiplies it.
    `n_parameters` counts the biases too; None: there are none.
    """

    n_layers: int
    n_neurons: int
    hidden: int
    n_matrices: int = 2
    element_bits: int = 16
    n_parameters: int | None = None

    def __post_init__(self) -> None:
        for field in ("n_layers", "n_neurons", "hidden", "element_bits"):
            if getattr(self, field) < 1:
                raise InvalidInputError(f"feed-forward weights: {field} is {getattr(self, field)}; need 1 or more")
        if self.n_matrices not in (2, 3):
            raise InvalidInputError(f"feed-forward weights: {self.n_matrices} matrices; need 2, or 3 with a gate")
        if self.hidden * self.element_bits % 8:
            raise InvalidInputError(
                f"feed-forward weights: {self.hidden} elements of {self.element_bits} bits are no whole bytes"
            )

    @property
    def row(self) -> int:
        """Bytes of one row of one matrix: what one neuron reads of it."""
        return self.hidden * self.element_bits // 8

    @property
    def neuron(self) -> int:
        """Bytes of one neuron: its rows of all matrices.

        >>> FeedForwardWeights(n_layers=32, n_neurons=16384, hidden=4096, element_bits=32).neuron // 1024
        32
        """
        return self.n_matrices * self.row

    @property
    def total(self) -> int:
        """Bytes of all layers."""
        if self.n_parameters is not None:
            return self.n_parameters * self.element_bits // 8
        return self.n_layers * self.n_neurons * self.neuron


@dataclass(frozen=True, slots=True)
class ModelBytes:
    """The bytes of a model by part; `other` holds norms and whatever else is always needed."""

    name: str
    feed_forward: FeedForwardWeights
    attention: int
    embedding: int
    other: int = 0

    def __post_init__(self) -> None:
        for field in ("attention", "embedding", "other"):
            if getattr(self, field) < 0:
                raise InvalidInputError(f"'{self.name}': {field} takes {getattr(self, field)} B; need 0 or more")

    @property
    def total(self) -> int:
        """Bytes of the whole model."""
        return self.feed_forward.total + self.attention + self.embedding + self.other

    def at(self, element_bits: int) -> "ModelBytes":
        """The same model with elements of another width.

        >>> half = ModelBytes("tiny", FeedForwardWeights(1, 8, 4), attention=128, embedding=64)
        >>> half.total, half.at(32).total
        (320, 640)
        """
        wider = Fraction(element_bits, self.feed_forward.element_bits)
        return ModelBytes(
            self.name,
            dataclasses.replace(self.feed_forward, element_bits=element_bits),
            int(self.attention * wider),
            int(self.embedding * wider),
            int(self.other * wider),
        )
