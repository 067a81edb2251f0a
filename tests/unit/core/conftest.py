"""Hypothesis without time limits per example: the machines that run this are shared and slow at times."""

from hypothesis import settings

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
