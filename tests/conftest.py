"""What every test shares: hypothesis budgets, and a Ctrl-C that arrives."""

import os
import signal

from hypothesis import HealthCheck, settings

# Deadlines are off: two busy cores would make them flaky. `HYPOTHESIS_PROFILE=thorough` looks longer.
settings.register_profile(
    "quick", deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Whoever runs the tests in the background ignores SIGINT, and children would inherit that; some tests send it to them.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
