"""Settings of all tests: Hypothesis judges what code does, not how long a busy machine takes.

Where `CI` is set it tries the same examples each time: a change lands or not by what it does, not by luck.
"""

import os

from hypothesis import settings

settings.register_profile("rtvnic", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("rtvnic")
