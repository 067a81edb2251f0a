"""wharf under faults: a whole stack of its own, load in both directions, and a judge of what came of it."""
