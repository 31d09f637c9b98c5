"""ECDSA signatures in their two spellings: DER, and r || s of equal length (RFC 7518 section 3.4, as JOSE wants it)."""

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature


def to_raw(der: bytes, bits: int) -> bytes:
    """r || s, for a curve of `bits`. Raises: ValueError, not a DER signature for such a curve."""
    size = (bits + 7) // 8
    try:
        return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(der))
    except OverflowError as error:
        raise ValueError("the signature is for a larger curve") from error


def to_der(raw: bytes, bits: int) -> bytes:
    """The DER of r || s, for a curve of `bits`. Raises: ValueError, of another length."""
    size = (bits + 7) // 8
    if len(raw) != 2 * size:
        raise ValueError(f"a signature has {2 * size} bytes")
    return encode_dss_signature(int.from_bytes(raw[:size], "big"), int.from_bytes(raw[size:], "big"))
