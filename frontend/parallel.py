"""A model on several devices: how many share what, and which part of the model one of them, a rank, has.

- tensor parallel: `tp` devices share each layer. Heads, inner widths and the vocabulary are split; a key-value head is
  repeated where there are fewer of them than devices. Each block ends with an all-reduce.
- expert parallel: the experts of a layer are split over `ep` devices. Up to `tp` of them, these are devices that
  share the other layers as well, and the all-reduce adds up what the experts return. Beyond, `ep / tp` groups of `tp`
  devices have sequences of their own, and all-to-alls bring tokens to their experts and back.
- pipeline parallel: the layers are split over `pp` stages, one after another.

Source: Shoeybi et al., Megatron-LM, 2019, section 3; Narayanan et al., Efficient large-scale language model training,
2021, section 2; Lepikhin et al., GShard, 2020, section 3.2; Rajbhandari et al., DeepSpeed-MoE, 2022, section 5.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

from tierplan.frontend.architecture import Architecture
from tierplan.ir.errors import InvalidInputError

_MOST = 4096


@dataclass(frozen=True, slots=True)
class Parallel:
    """How many devices share the tensors of a layer, the layers, and the experts.

    `groups` of `tp` devices have sequences of their own: as many as it takes to spread the experts, if not told.
    """

    tp: int = 1
    pp: int = 1
    ep: int = 1
    groups: int = 0

    def __post_init__(self) -> None:
        for option, n in (("--tp", self.tp), ("--pp", self.pp), ("--ep", self.ep)):
            if not 1 <= n <= _MOST:
                raise InvalidInputError(f"{option} is {n}; write a whole number from 1 to {_MOST}")
        if not self.groups:
            object.__setattr__(self, "groups", max(1, self.ep // self.tp))
        if self.stage_devices % self.ep:
            near = _near(self.ep, lambda n: self.tp % n == 0 or n % self.tp == 0)
            raise InvalidInputError(f"--ep {self.ep} neither divides nor is a multiple of --tp {self.tp}; {near}")

    @property
    def stage_devices(self) -> int:
        """Devices of one stage."""
        return self.tp * self.groups

    @property
    def devices(self) -> int:
        """All devices."""
        return self.stage_devices * self.pp

    @property
    def expert_tp(self) -> int:
        """Devices that share each expert."""
        return self.stage_devices // self.ep

    def __str__(self) -> str:
        return f"tp {self.tp}, pp {self.pp}, ep {self.ep}"


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of a model that one device has: its place among those that share tensors, and its stage.

    Where a vocabulary or the layers do not divide evenly, the first ones have one more.
    """

    parallel: Parallel
    rank: int = 0
    stage: int = 0

    def __post_init__(self) -> None:
        for what, n, end in (
            ("rank", self.rank, self.parallel.stage_devices),
            ("stage", self.stage, self.parallel.pp),
        ):
            if not 0 <= n < end:
                raise InvalidInputError(f"{what} {n} of {self.parallel}; need 0 to {end - 1}")

    @property
    def tensor_rank(self) -> int:
        """Place in the group that shares the tensors of a layer."""
        return self.rank % self.parallel.tp

    @property
    def expert_rank(self) -> int:
        """Place among those that have different experts."""
        return self.rank // self.parallel.expert_tp

    @property
    def first(self) -> bool:
        """Whether this is the stage that reads the tokens."""
        return self.stage == 0

    @property
    def last(self) -> bool:
        """Whether this is the stage that writes the logits."""
        return self.stage == self.parallel.pp - 1

    def layers(self, n_layers: int) -> range:
        """The layers of the stage.

        >>> [Shard(Parallel(pp=2), stage=s).layers(5) for s in (0, 1)]
        [range(0, 3), range(3, 5)]
        """
        return split(n_layers, self.parallel.pp, self.stage)

    def experts(self, n_experts: int) -> range:
        """The experts of the device."""
        return split(n_experts, self.parallel.ep, self.expert_rank)


ALONE = Shard(Parallel())


def split(n: int, parts: int, index: int) -> range:
    """The part of that index, when n things in order are split evenly, the first parts taking one more."""
    size, more = divmod(n, parts)
    start = index * size + min(index, more)
    return range(start, start + size + (index < more))


def chance_of_rank(n_experts: int, per_token: int, ranks: int) -> float:
    """Probability that a token has at least one of its experts on a given rank.

    Assumes: experts are drawn evenly, no two the same.

    >>> chance_of_rank(4, 1, 4), chance_of_rank(4, 2, 2), chance_of_rank(8, 2, 1)
    (0.25, 0.8333333333333334, 1.0)
    """
    return 1.0 - comb(n_experts - n_experts // ranks, per_token) / comb(n_experts, per_token)


def check(arch: Architecture, parallel: Parallel) -> None:
    """Refuse a split that the model does not allow.

    Raises: InvalidInputError: what does not divide what, and the nearest number that does.
    """
    experts = arch.experts
    if parallel.pp > arch.n_layers:
        raise InvalidInputError(f"--pp {parallel.pp}: '{arch.name}' has {arch.n_layers} layers; write that or fewer")
    if parallel.ep > 1 and experts is None:
        raise InvalidInputError(f"--ep {parallel.ep}: '{arch.name}' has no experts; leave --ep out")
    if experts is not None and experts.n % parallel.ep:
        near = _near(parallel.ep, lambda n: experts.n % n == 0 and (parallel.tp % n == 0 or n % parallel.tp == 0))
        raise InvalidInputError(f"--ep {parallel.ep} does not divide the {experts.n} experts of '{arch.name}'; {near}")
    if bad := _indivisible(arch, parallel.tp):
        near = _near(parallel.tp, lambda n: not _indivisible(arch, n))
        raise InvalidInputError(f"--tp {parallel.tp} does not divide {bad} of '{arch.name}'; {near}")
    if experts is not None and experts.ffn % parallel.expert_tp:
        raise InvalidInputError(
            f"{parallel.expert_tp} devices cannot share the width {experts.ffn} of an expert of '{arch.name}'; "
            "raise --ep"
        )


def _indivisible(arch: Architecture, tp: int) -> str:
    """What of the model tp devices cannot share; empty if they can."""
    dense = arch.experts is None or len(arch.experts.layers) < arch.n_layers
    if arch.n_heads % tp:
        return f"the {arch.n_heads} heads"
    if arch.n_kv_heads % tp and tp % arch.n_kv_heads:
        return f"the {arch.n_kv_heads} key-value heads, nor do they divide it,"
    if dense and arch.ffn % tp:
        return f"the inner width {arch.ffn}"
    if arch.experts is not None and arch.experts.shared % tp:
        return f"the width {arch.experts.shared} of the shared expert"
    return ""


def _near(n: int, valid: Callable[[int], bool]) -> str:
    """The valid numbers next to n, below and above, in words."""
    below = next((m for m in range(n - 1, 0, -1) if valid(m)), None)
    above = next((m for m in range(n + 1, _MOST + 1) if valid(m)), None)
    found = [str(m) for m in (below, above) if m is not None]
    return f"the nearest {'is' if len(found) == 1 else 'are'} {' and '.join(found)}"
