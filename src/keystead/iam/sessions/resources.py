"""Session tokens of resources: how a database system acts over HTTP as itself (what OCI calls a resource principal).

    rpst = a security token whose `sub` is the resource, `amr` is ["resource"], bound to a key made on its machine

Promises: only the machine that runs the resource is given one, and only for a key whose private half stays there; it
stands for nobody without a proof of that key; half an hour and no refreshing: the machine asks anew. It ends with the
resource's identity and with a revocation, at once; what it may do is what statements grant the resource, or dynamic
groups that it is in, at the moment of each request.
"""

from datetime import timedelta

from keystead.core.errors import Refusal
from keystead.iam.base import Base
from keystead.iam.model import Caller, IssuedToken
from keystead.iam.sessions.service import given_key

RESOURCE_LIFETIME = timedelta(minutes=30)


class ResourceSessions(Base):
    """What machines ask for the resources that they run."""

    def issue_for_resource(self, machine: Caller, resource_id: str, public_key: str) -> IssuedToken:
        """A token for a resource, bound to `public_key` (PEM, or JWK as JSON). That the machine runs it is for whoever
        asks to know.

        Raises:
            Refusal: `InvalidKey`; `IdentityDeleted`, the resource has no identity, so nothing is issued to it.
        """
        key, now = given_key(public_key), self._clock.now()
        principal = self._directory.principal(resource_id)
        if machine.principal.type != "service" or principal is None or principal.type in ("user", "service"):
            raise Refusal(
                "IdentityDeleted",
                "the resource has no identity",
                hint="keystead db restore-identity",
                kind="denied",
            )
        return self._tokens.issue(principal, now, factors=("resource",), key=key, lifetime=RESOURCE_LIFETIME)
