"""Settings of all tests: Hypothesis judges what code does, not how long a busy machine takes."""

from hypothesis import settings

settings.register_profile("rtvnic", deadline=None)
settings.load_profile("rtvnic")
