"""What wharf costs: a whole stack of its own under simulated traffic, measured from outside (docs/benchmarks.md)."""
