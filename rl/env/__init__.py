"""mallocGame as a Gymnasium environment; importing this registers `tierplan/MallocGame-v0`.

import gymnasium
import tierplan.rl.env

env = gymnasium.make("tierplan/MallocGame-v0", program="suite://train/bert-8x512")
"""

from tierplan.rl.env.register import ENVIRONMENT, register_environments

__all__ = ["ENVIRONMENT"]

register_environments()
