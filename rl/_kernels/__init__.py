"""The rules of mallocGame as kernels: docs/mallocgame.md, re-stated. Here is what Python calls.

Actions of a machine with K tiers: `0 .. K-2` copy to that tier, `K-1` keep, `K-1+k` leave in tier k. Every kernel takes
`where`: the address of the frame of a play (frame.py).
"""

from tierplan.rl._kernels.play import default_action, legal, replay, reset, step

__all__ = ["default_action", "legal", "replay", "reset", "step"]
