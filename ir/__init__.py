"""The nouns: graphs, machines, problems, plans, and the rules a plan must keep."""
