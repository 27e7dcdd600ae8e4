"""A chaos campaign: a seeded workload, seeded faults, and a checker that knows what is right."""
