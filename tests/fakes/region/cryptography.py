"""What is done with a key."""

import base64

from tests.fakes.region.routes import base64_of
from tests.fakes.region.state import Json, Refused


def crypto_batch(key: Json, verb: str, body: Json) -> Json:
    """Each item as if it were alone."""
    items: list[Json] = []
    for item in body["items"]:
        try:
            answer = crypto(key, verb, item)
            items.append(
                {name: value for name, value in answer.items() if name not in ("key_id", "key_version", "scheme")}
            )
        except Refused as error:
            items.append({"error": error.body})
    failed = sum("error" in item for item in items)
    made = {"key_id": key["id"], "key_version": key["current_version"]}
    return {"items": items, "failed": failed} | (made if verb in ("encrypt", "wrap", "rewrap", "sign") else {})


def crypto(key: Json, verb: str, body: Json) -> Json:
    """No cryptography: the associated data in front of the reversed bytes."""
    mark = base64.b64decode(body.get("associated_data", "")) + b"|"

    def seal(plain: bytes) -> Json:
        made = base64_of(mark + plain[::-1])
        return {"ciphertext": made, "key_id": key["id"], "key_version": key["current_version"]}

    def unseal() -> bytes:
        raw = base64.b64decode(body["ciphertext"])
        if not raw.startswith(mark):
            raise Refused(400, "Unreadable", "the ciphertext cannot be opened with this key and context")
        return raw.removeprefix(mark)[::-1]

    signed = base64_of(b"signed|" + base64.b64decode(body.get("message", body.get("digest", ""))))
    match verb:
        case "sign":
            made = {"key_id": key["id"], "key_version": key["current_version"]}
            return {"signature": signed, "scheme": body.get("scheme", "ED25519"), **made}
        case "verify":
            return {"valid": body["signature"] == signed}
        case "encrypt":
            return seal(base64.b64decode(body["plaintext"]))
        case "wrap":
            return seal(base64.b64decode(body["key_material"]))
        case "decrypt":
            return {"plaintext": base64_of(unseal())}
        case "unwrap":
            return {"key_material": base64_of(unseal())}
        case "rewrap":
            return seal(unseal())
        case _:
            fresh = bytes(range(32))
            plain = base64_of(fresh) if body.get("include_plaintext", True) else None
            return {**seal(fresh), "plaintext": plain}
