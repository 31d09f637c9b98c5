"""Every parser of foreign bytes, as something to throw bytes at.

A target takes any bytes. What is read is either refused in the way that its reader promises (a `KeysteadError`, or the
error its docstring names) or it is what its writer writes; anything else that happens is a finding. Where a MAC or a
signature would keep fuzzed bytes from ever getting further, there is a second target behind it."""

from collections.abc import Mapping

from tests.fuzz.arrivals import (
    key_request,
    key_request_seeds,
    line_answer,
    line_answer_seeds,
    login,
    login_seeds,
    names,
    names_seeds,
    possession,
    possession_seeds,
    provided,
    provided_seeds,
)
from tests.fuzz.foreign_keys import (
    key_of,
    key_seeds,
    public_halves,
    public_seeds,
    signature_seeds,
    signatures,
    texts,
    texts_seeds,
    transfer_blob,
    transfer_seeds,
    wrapped_material,
    wrapped_seeds,
)
from tests.fuzz.formats import (
    audit_seeds,
    audit_segment,
    envelope,
    envelope_seeds,
    key_backup,
    key_backup_content,
    key_backup_content_seeds,
    key_backup_seeds,
    seal_file,
    seal_helper_seeds,
    seal_helpers,
    seal_seeds,
    stream,
    stream_seeds,
    vault_ciphertext,
    vault_seeds,
)
from tests.fuzz.provisioning import scim, scim_seeds
from tests.fuzz.sayings import (
    claims,
    claims_seeds,
    network,
    network_seeds,
    policy,
    policy_seeds,
    proof,
    proof_seeds,
    settings_file,
    settings_seeds,
    token,
    token_seeds,
    words,
    words_seeds,
)
from tests.fuzz.target import Target

_JSON = (b'{"', b'":', b'","', b"null", b"true", b"[]", b"{}", b"-1", b"1e9", b'"\\u0000"')


_PEM = (b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n", b"ENCRYPTED ", b"RSA ", b"EC ")


_POLICY = tuple(
    b"Allow Deny Define Endorse Admit group any-user any-group dynamic-group service to use manage read inspect keys in"
    b" compartment tenancy where all any request.user.name target.key.id = != { } ' / , before after id of as".split()
)

_SCIM = (
    *_JSON, b" and ", b" or ", b"not (", b" eq ", b" co ", b" pr", b"emails[", b"].value", b'{"op":"add","path":"',
    b"urn:",
)  # fmt: skip

TARGETS: Mapping[str, Target] = {
    "envelope": Target(envelope, envelope_seeds, (b"KSE\1",)),
    "stream": Target(stream, stream_seeds, (b"KSS\1", *_JSON)),
    "seal-file": Target(seal_file, seal_seeds, _JSON),
    "seal-helpers": Target(seal_helpers, seal_helper_seeds),
    "key-backup": Target(key_backup, key_backup_seeds, _JSON),
    "key-backup-content": Target(key_backup_content, key_backup_content_seeds, _JSON),
    "audit-segment": Target(audit_segment, audit_seeds, _JSON),
    "pkcs12": Target(key_of("pkcs12"), key_seeds("pkcs12")),
    "pem": Target(key_of("pem"), key_seeds("pem"), _PEM),
    "der": Target(key_of("der"), key_seeds("der")),
    "jwk": Target(key_of("jwk"), key_seeds("jwk"), (*_JSON, b"kty", b"oct", b"RSA", b"EC", b"OKP", b"AKP", b"crv")),
    "raw": Target(texts, texts_seeds),
    "byok": Target(transfer_blob, transfer_seeds, (*_JSON, b"schema_version", b"ciphertext", b"CKM_RSA_AES_KEY_WRAP")),
    "wrapped": Target(wrapped_material, wrapped_seeds),
    "public": Target(public_halves, public_seeds, _PEM),
    "signature": Target(signatures, signature_seeds),
    "policy": Target(policy, policy_seeds, _POLICY),
    "scim": Target(scim, scim_seeds, _SCIM),
    "token": Target(token, token_seeds, (b".", b"eyJ")),
    "proof": Target(proof, proof_seeds, (b".", b'headers="', b"eyJ")),
    "possession": Target(possession, possession_seeds, (*_JSON, b"jti", b"htu", b"ath", b"jwk", b"\\ud800")),
    "id-token": Target(provided, provided_seeds, (*_JSON, b"azp", b"amr", b"groups", b"realm_access", b"\\ud800")),
    "login-message": Target(login, login_seeds, (b"KSL1", b"\0\0\0\1", *_JSON, b"signature", b".e30.")),
    "login-names": Target(names, names_seeds, (b"SELECT", b" ON ", b".*", b"`", b", ")),
    "key-request": Target(key_request, key_request_seeds, (b"\r\n", b"/data/", b"?version=", b"X-Vault-Token: ")),
    "line-answer": Target(line_answer, line_answer_seeds, (b"\r\n", b"transfer-encoding: chunked", b"HTTP/1.1 ")),
    "claims": Target(claims, claims_seeds, _JSON),
    "network": Target(network, network_seeds, (b"/32", b"::ffff:", b"private")),
    "words": Target(words, words_seeds),
    "settings": Target(settings_file, settings_seeds, (b"[region]", b"[unseal]", b" = ", b'"""')),
    "vault-ciphertext": Target(vault_ciphertext, vault_seeds, (b"vault:v", b"==")),
}
