"""What a name may look like: the same rule for everything that people name."""

import re

from keystead.core.errors import Refusal

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
MAX_DESCRIPTION = 400


def check_name(name: str, kind: str) -> str:
    """`name` itself when it may be used.

    Raises:
        Refusal: `InvalidName`.
    """
    if _NAME.fullmatch(name) is None:
        raise Refusal(
            "InvalidName",
            f"{name[:120]!r} cannot name a {kind}",
            hint="1 to 100 letters, digits or . _ @ + - beginning with a letter or digit",
        )
    return name


def check_description(text: str) -> str:
    """`text` itself when it is short enough and printable. Raises: Refusal `InvalidParameter`."""
    if len(text) > MAX_DESCRIPTION or not text.isprintable():
        raise Refusal("InvalidParameter", f"a description has at most {MAX_DESCRIPTION} printable characters")
    return text
