"""The comparison of rule engines: one seeded workload, several engines, the same answers."""
