"""Search: schedules for a model's kernels that are measured to be faster than the heuristic's, kept in a lock file."""
