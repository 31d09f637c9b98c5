"""What every test shares: hypothesis budgets."""

import os

from hypothesis import HealthCheck, settings

# Deadlines are off: two busy cores would make them flaky. `HYPOTHESIS_PROFILE=thorough` looks longer.
settings.register_profile("quick", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
