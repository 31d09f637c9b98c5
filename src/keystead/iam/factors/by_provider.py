"""The last step of signing in by way of an identity provider: it is judged as a password is that was right.

    one-time code, verifier -> token, or FactorRequired with a challenge -> challenge, factor, proof -> token

Promises: a factor that is required here is required of everybody, however they came; one of the provider's counts only
where the provider is trusted with it; the token is the provider's doing, with a factor of ours or without, and ends
with the provider.
"""

from datetime import datetime

from keystead.core.errors import Refusal
from keystead.iam.factors.model import SECOND_FACTORS, FactorRequired
from keystead.iam.factors.refusals import no_such_sign_in
from keystead.iam.factors.risk import reaches
from keystead.iam.factors.sign_in import SignIns, Way, known_device
from keystead.iam.federation.model import FederatedSignIn
from keystead.iam.model import Caller, IssuedToken

OPERATION = "FinishFederatedSignIn"


class ProviderSignIns(SignIns):
    """Signing in with what a provider says."""

    def admit_provided(
        self, caller: Caller, came: FederatedSignIn, provider: str, device: str | None, began: datetime
    ) -> IssuedToken:
        """A token for whom a provider has let in as `caller`. `device` as in `sign_in`.

        Raises:
            FactorRequired: the provider's word is not enough.
            Refusal: `NotAuthenticated`.
        """
        with self._store.read() as tx:
            user = tx.iam.user(caller.principal.tenancy, caller.principal.id)
        if user is None:
            self._guard.refuse(caller, "SIGN_IN", self._nowhere(caller), OPERATION, no_such_sign_in())
        known = self._known(user, began)
        mark = known_device(known.seen, device)
        risk = self._risk(known, caller.source, mark, began)
        told = {"identity_provider": provider, **risk.explained()}
        if reaches(risk.level, known.settings.refuse_from):
            reason = f"the risk is {risk.level}"
            self._refuse_with(caller, self._own(caller), OPERATION, no_such_sign_in(), told, "SignInTooRisky", reason)
        required = self._directory.factor_required(user.id) or reaches(risk.level, known.settings.factor_from)
        if known.offered and required and not SECOND_FACTORS.intersection(came.factors):
            challenge = self._open_challenge(caller, user, risk, mark, began, came)
            message = "the identity provider has let you in; a second factor is needed here"
            refusal: Refusal = FactorRequired(challenge, known.offered, message=message)
            self._refuse_with(caller, self._own(caller), OPERATION, refusal, told)
        way = Way(OPERATION, came.factors, mark, device, None, risk.score, came)
        return self._complete(caller, user, way, began, told)
