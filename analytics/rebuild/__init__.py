"""Rollups made again from the raw table."""
