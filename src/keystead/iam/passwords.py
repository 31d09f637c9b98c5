"""Passwords that are made for people."""

import secrets

from keystead.core.secret import Secret

PASSWORD_LENGTH = 20
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"


def fresh_password() -> Secret:
    """A random password of 20 letters and digits (116 bits), none of them easily confused."""
    return Secret("".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH)).encode())
