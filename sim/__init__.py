"""The cost model and the simulator: from a problem and a plan to a timeline."""
