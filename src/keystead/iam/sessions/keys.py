"""API signing keys: public keys of a user's whose private halves sign requests, as OCI's clients do it.

Promise: the private half is never asked for and refused when sent; a key stands for its user and for nobody else, stops
with the user, and when it is deleted, so do the tokens it was exchanged for, from the next request on.
"""

from keystead.core.errors import Refusal, not_found, taken
from keystead.core.ids import new_id, parse_id
from keystead.core.page import Page, PageRequest, cut
from keystead.crypto.proofkey import PublicJwk
from keystead.iam.base import Base
from keystead.iam.model import Caller
from keystead.iam.names import check_name
from keystead.iam.ports import Revocation
from keystead.iam.sessions.model import FOR_EVER, ApiKey
from keystead.iam.tokens import Proof, invalid_token

MAX_KEYS = 10


class ApiKeys(Base):
    """What is done with API signing keys."""

    def create_api_key(self, caller: Caller, user_id: str, name: str, public_key: str) -> ApiKey:
        """Let requests signed by this key (PEM) be the user's. A user has at most ten."""
        user = self._user(caller, user_id)
        check_name(name, "API key")
        key = PublicJwk.from_pem(public_key)
        made = ApiKey(
            new_id("apikey", self._region),
            user.tenancy,
            user.id,
            name,
            key.fingerprint,
            key.pem(),
            self._clock.now(),
        )
        detail = {"api_key": name, "api_key_id": made.id, "fingerprint": made.fingerprint, "kind": key.kind}
        entry = self._guard.permit_change(caller, "USER_APIKEY_ADD", self._at_user(user), "CreateApiKey", detail)
        with self._store.write(entry) as tx:
            held = tx.sessions.api_keys(user.tenancy, user.id, PageRequest(MAX_KEYS))
            if any(each.name.casefold() == name.casefold() for each in held):
                raise taken("API key", name)
            if any(each.fingerprint == made.fingerprint for each in held):
                raise Refusal("AlreadyExists", "the user has this key already", hint="sign with it", kind="conflict")
            if len(held) >= MAX_KEYS:
                raise Refusal(
                    "TooManyApiKeys",
                    f"user {user.name!r} has {MAX_KEYS} API keys, and no more are kept",
                    hint="delete one that is not used any more: keystead user api-key-delete",
                    kind="conflict",
                )
            tx.sessions.add_api_key(made)
        return made

    def list_api_keys(self, caller: Caller, user_id: str, page: PageRequest) -> Page[ApiKey]:
        """By name."""
        user = self._user(caller, user_id)
        self._guard.permit(caller, "USER_READ", self._at_user(user), "ListApiKeys")
        with self._store.read() as tx:
            return cut(tx.sessions.api_keys(user.tenancy, user.id, page), page.limit, lambda item: item.name)

    def delete_api_key(self, caller: Caller, user_id: str, api_key_id: str) -> None:
        """It signs nothing any more, and what it was exchanged for is void."""
        parse_id(api_key_id, "apikey")
        user = self._user(caller, user_id)
        detail = {"api_key_id": api_key_id}
        entry = self._guard.permit_change(caller, "USER_APIKEY_REMOVE", self._at_user(user), "DeleteApiKey", detail)
        with self._store.write(entry, reserve=True) as tx:
            if not tx.sessions.delete_api_key(user.tenancy, user.id, api_key_id):
                raise not_found("API key")
            tx.iam.revoke(Revocation(user.tenancy, api_key_id, FOR_EVER))

    def authenticate_by_key(self, key_id: str, source: str, request_id: str, proof: Proof) -> Caller:
        """The caller that signs with the API key `<tenancy>/<user>/<fingerprint>`.

        Raises:
            Refusal: `NotAuthenticated`, for every cause alike.
        """
        self._guard.refresh()
        tenancy, _, rest = key_id.partition("/")
        user, _, fingerprint = rest.partition("/")
        found = self._directory.api_key(user, fingerprint)
        principal = self._directory.principal(user) if found is not None else None
        if found is None or principal is None or principal.tenancy != tenancy or not proof(found[1]):
            raise invalid_token()
        return Caller(
            principal,
            request_id,
            source,
            session=found[0].id,
            factors=frozenset({"apikey"}),
            key_bound=True,
        )
