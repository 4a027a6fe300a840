"""What `--routing` says: how the tokens of a mixture of experts are routed, drawn with a skew or read from a trace."""

from dataclasses import dataclass
from pathlib import Path

from tierplan.ir.errors import InvalidInputError, unknown_name
from tierplan.sim.experts_layers import ExpertLayer
from tierplan.sim.experts_trace import Demand, Requests, Routing, generate_requests, generate_routing
from tierplan.sim.experts_trace import load_requests as requests_from_file
from tierplan.sim.experts_trace import load_routing as routing_from_file
from tierplan.sim.experts_turns import TurnRouting, generate_turns

_DRAWN_USES = 4096  # of a layer's experts
_DRAWN_TOKENS = 512
_DRAWN_TURNS = 64
_MOST_DRAWN = 1024  # tokens of a turn up to which each is drawn
_FORMS = "'uniform', 'zipf:SKEW', 'zipf:SKEW,stay:SHARE', or a trace FILE.npz"


@dataclass(frozen=True, slots=True)
class Skew:
    """A demand to draw from, or the file of a trace."""

    text: str
    demand: Demand | None = None
    file: Path | None = None

    @classmethod
    def of(cls, text: str) -> "Skew":
        """What an option says.

        >>> Skew.of("zipf:0.8,stay:0.3").demand
        Demand(skew=0.8, stay=0.3)
        """
        if text.endswith(".npz"):
            return cls(text, file=Path(text))
        numbers: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.strip().partition(":")
            if name in numbers:
                raise InvalidInputError(f"'{text}' says '{name}' twice; write {_FORMS}")
            if name not in ("uniform", "zipf", "stay"):
                raise InvalidInputError(f"{unknown_name('demand', name, ('uniform', 'zipf', 'stay'))}; write {_FORMS}")
            if (name == "uniform") != (not value):
                raise InvalidInputError(f"'{part.strip()}' is not a demand; write {_FORMS}")
            numbers[name] = _number(value, text) if value else 0.0
        if "uniform" in numbers and "zipf" in numbers:
            raise InvalidInputError(f"'{text}' is uniform and has a skew; write {_FORMS}")
        return cls(text, Demand(numbers.get("zipf", 0.0), numbers.get("stay", 0.0)))

    def routing(self, layers: tuple[ExpertLayer, ...], parallel: int, seed: int) -> Routing | TurnRouting:
        """The routing of tokens over the layers of a model, `parallel` of them per turn.

        Of turns with very many tokens, which experts they use is drawn, not what each token takes.
        """
        n_experts, top_k = layers[0].n_experts, layers[0].top_k
        if self.file is not None:
            found = routing_from_file(self.file, n_experts)
            if found.n_tokens < 2 * parallel:
                raise InvalidInputError(
                    f"{self.file}: {found.n_tokens} tokens, and a turn routes {parallel}; a trace needs two turns or "
                    "more: record a longer one, or write a smaller --batch or --context"
                )
            return found
        assert self.demand is not None
        if parallel > _MOST_DRAWN:
            return generate_turns(self.demand, _DRAWN_TURNS, parallel, len(layers), n_experts, top_k, seed)
        n_tokens = max(_DRAWN_TOKENS, _DRAWN_USES // top_k, _DRAWN_TURNS * parallel)
        return generate_routing(self.demand, n_tokens, len(layers), n_experts, top_k, seed)

    def requests(self, n_requests: int, n_experts: int, seed: int) -> Requests:
        """The requests to whole models; those of a file are as many as it has."""
        if self.file is not None:
            return requests_from_file(self.file, n_experts)
        assert self.demand is not None
        return generate_requests(self.demand, n_requests, n_experts, seed)


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InvalidInputError(f"'{value}' in '{text}' is not a number; write {_FORMS}") from None
