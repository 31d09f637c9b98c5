"""What a call was refused with."""

from collections.abc import Callable

import pytest

from keystead.core.errors import Refusal


def refused(run: Callable[..., object], *given: object, **named: object) -> Refusal:
    """The refusal that the call ends with."""
    with pytest.raises(Refusal) as caught:
        run(*given, **named)
    return caught.value
