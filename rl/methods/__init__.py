"""Players of mallocGame that do not learn: what every agent has to beat."""
