"""Names for the tensors that transforms add."""

from __future__ import annotations

from dataclasses import dataclass, field

from tierplan.einsum.cascade import Cascade


@dataclass(slots=True)
class Names:
    """Names that are taken; `fresh` takes another one."""

    taken: set[str] = field(default_factory=set[str])

    @staticmethod
    def of(cascade: Cascade) -> Names:
        """The names of a cascade's tensors and ranks."""
        names = {e.name for e in cascade} | {a.tensor for e in cascade for a in e.reads}
        return Names(names | {rank.name for rank in cascade.ranks})

    def fresh(self, wanted: str) -> str:
        """`wanted`, or the first of `wanted2`, `wanted3`, ... that is free."""
        name, n = wanted, 1
        while name in self.taken:
            n += 1
            name = f"{wanted}{n}"
        self.taken.add(name)
        return name

    def local(self, tensor: str) -> str:
        """The name of a part of `tensor` that belongs to one block: GM gives LM, SD gives SLD.

        >>> Names().local("GM"), Names().local("SNV"), Names().local("SD")
        ('LM', 'SLNV', 'SLD')
        """
        if tensor.startswith("G"):
            return f"L{tensor[1:]}"
        return f"{tensor[0]}L{tensor[1:]}"

    def running(self, tensor: str) -> str:
        """The name of the running value of `tensor`: GM gives RM, SD gives RD, SNV gives RNV.

        >>> Names().running("GM"), Names().running("SNV")
        ('RM', 'RNV')
        """
        return f"R{tensor[1:]}" if len(tensor) > 1 else f"R{tensor}"
