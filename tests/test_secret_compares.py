"""Secrets are compared in constant time: no `==`, `!=` or `in` on what could be one, but for those named here.

The rule, on the source itself: an operand is suspect when the last name in it (a variable, an attribute, the function
called, the key of a subscript) has one of `WORDS` among its words. Comparing it with a literal of the source is fine (a
literal is no secret), and so are lengths. What remains is either `compare_digest`, or in `ALLOWED` with the reason why
it tells nobody anything.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SOURCE = Path(__file__).parents[1] / "src" / "keystead"
SECRET_LIKE = """
    secret secrets token tokens password passphrase pin otp code codes ticket cookie credential digest mac hmac
    commitment checksum hash hashed fingerprint thumbprint signature proof nonce verifier challenge mark marks share
    shares mnemonic material plaintext reveal sealed unwrapped
"""
WORDS = frozenset(SECRET_LIKE.split())
NO_SECRETS = frozenset(["exit_code", "returncode", "token_id", "material_bytes", "digest_size"])
PUBLIC_HALF = "both are of public keys"
SQL = "an index of digests or ciphertexts is searched, by the database: what a search tells of a digest is no preimage"
OWN = "whoever sends the one knows the other: it is their own request, or they made both"
TRAIL = "hashes of the audit trail, which whoever may read it knows"
ALLOWED = {
    ("adapters/sql/audit_index.py", "sha256(line).digest() != line_hash"): TRAIL,
    ("audit/rollback.py", "audit.hash_at(writer, head.sequence) != head.hash"): TRAIL,
    ("audit/verify.py", "scan(data[begin:], writer, after, until=known.sequence).head.hash != known.hash"): TRAIL,
    ("adapters/sql/factors.py", "table.c.credential == credential"): SQL,
    ("adapters/sql/vault.py", "columns.fingerprint == fingerprint"): SQL,
    ("crypto/proofkey.py", "self.thumbprint == other.thumbprint"): PUBLIC_HALF,
    ("iam/sessions/keys.py", "each.fingerprint == made.fingerprint"): PUBLIC_HALF,
    ("iam/tokens.py", "key.thumbprint != cnf['jkt']"): PUBLIC_HALF,
    ("iam/factors/sign_in.py", "secret.credential == wanted"): "the public id of an authenticator, told to who begins",
    ("iam/factors/sign_in.py", "each.mark == here"): "a network, not what a client keeps secret",
    ("iam/factors/sign_in.py", "each.mark != here"): "a network, not what a client keeps secret",
    ("iam/approvals/gate.py", "found.digest != asked.digest"): OWN,
    ("iam/approvals/gate.py", "found.digest == asked.digest"): OWN,
    ("web/idempotency.py", "found.request_hash != request_hash"): OWN,
    (
        "server/sealing/newroot.py",
        "_mark(effective) == _id_of(stage)",
    ): "the id of a change, both in the region's files",
    ("server/state/building.py", "hashlib.sha256(path.read_bytes()).hexdigest() == digest"): "both in our own files",
    ("iam/federation/scim_filter.py", "self._take() != ('mark', mark)"): "a bracket of a filter",
    ("vault/use/foreign.py", "(found.parent, found.name.casefold()) == mark"): "the name of a compartment",
}


def terminal(node: ast.expr) -> str:
    """The name by which an operand goes."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case ast.Subscript(value=inner) | ast.Await(value=inner) | ast.Call(func=inner):
            return terminal(inner)
        case _:
            return ""


def suspect(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(suspect, node.elts))
    name = terminal(node).lower().strip("_")
    if name in NO_SECRETS or (isinstance(node, ast.Attribute | ast.Name) and terminal(node).isupper()):
        return False  # an upper-case name is a constant of the source
    return bool(WORDS.intersection(name.split("_")))


def literal(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return all(map(literal, node.elts))
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name | ast.Attribute) and terminal(node).isupper())


def compares(source: str) -> Iterator[tuple[int, str]]:
    """The suspect comparisons of a source: line, and the comparison as Python spells it."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            if literal(left) or literal(right):
                continue
            equal = isinstance(operator, ast.Eq | ast.NotEq) and (suspect(left) or suspect(right))
            # `in` a table is a look-up by hash; `in` text or a sequence made on the spot compares one after the other.
            among = (
                isinstance(operator, ast.In | ast.NotIn) and suspect(left) and isinstance(right, ast.List | ast.Tuple)
            )
            if equal or among:
                yield node.lineno, ast.unparse(node)


def test_no_secret_is_compared_with_what_stops_at_the_first_difference() -> None:
    found = {
        (str(path.relative_to(SOURCE)), text): line
        for path in sorted(SOURCE.rglob("*.py"))
        for line, text in compares(path.read_text())
    }
    wrong = [f"{file}:{line}: {text}" for (file, text), line in found.items() if (file, text) not in ALLOWED]
    assert not wrong, "use hmac.compare_digest, or say in ALLOWED why not:\n" + "\n".join(wrong)
    assert not ALLOWED.keys() - found.keys(), "allowed, and not there any more"


@pytest.mark.parametrize(
    "source",
    [
        "token == given",
        "given.secret_id != held",
        "sha256(x).digest() == wanted",
        "claims['nonce'] == ours",
        "secret.reveal() == b",
        "(user, password) == pair",
        "password in [one, two]",
        "mac(key, data) == code",
    ],
)
def test_the_rule_finds(source: str) -> None:
    assert list(compares(source)) == [(1, ast.unparse(ast.parse(source, mode="eval").body))]


@pytest.mark.parametrize(
    "source", ["error.code == 'NotFound'", "len(secret) != 32", "compare_digest(token, given)", "token is None",
               "kind == 'token'", "answer.code in (GONE, SHUT)"],
)  # fmt: skip
def test_the_rule_leaves_alone(source: str) -> None:
    assert not list(compares(source))
