"""A report as one HTML page with charts: ask.py asks the named queries, everything behind it is pure."""
