"""One invocation: which profile, which region, and what the names mean that were typed.

References, everywhere the same: an id is taken as it is; a name is looked up in the compartment (`--compartment`, else
the profile's, else the root); `a/b/name` or `a:b:name` is looked up in the compartment `a/b`, from the root.
"""

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from keystead.cli.console import Console
from keystead.cli.exits import NOT_FOUND, NOT_SIGNED_IN, CliError, usage
from keystead.cli.kinds import Kind
from keystead.cli.profile import Profile, Profiles, SavedToken, TokenFile
from keystead.cli.wire import Json

if TYPE_CHECKING:
    from keystead.cli.client import Client

REFRESH_BEFORE = timedelta(minutes=10)
_SEPARATOR = re.compile("[/:]")


class Session:
    """Made by the root command from its options; everything is loaded when it is first needed."""

    def __init__(self, profile: str | None = None) -> None:
        self.console = Console()
        self.profiles = Profiles()
        self._profile_name = profile
        self._profile: Profile | None = None
        self._client: Client | None = None
        self._token: SavedToken | None = None
        self._compartments: dict[str, str] = {}
        self.approval: str | None = None

    @property
    def profile_name(self) -> str:
        """`--profile`, else the default one."""
        if self._profile_name is None:
            self._profile_name = self.profiles.default_name()
        return self._profile_name

    @property
    def profile(self) -> Profile:
        """The profile's settings."""
        if self._profile is None:
            self._profile = self.profiles.load(self.profile_name)
        return self._profile

    @property
    def token_file(self) -> TokenFile:
        """Where this profile's token is kept."""
        return TokenFile(self.profile_name)

    @property
    def token(self) -> SavedToken:
        """The token of who is signed in at the profile's region.

        Raises:
            CliError: nobody is, or the token was issued by another URL.
        """
        if self._token is None:
            url, saved = self.url, self.token_file.load()
            if saved is None or saved.url != url:
                raise CliError(
                    "you are not signed in",
                    hint=_login_hint(self.profile_name),
                    code="NotSignedIn",
                    exit_code=NOT_SIGNED_IN,
                )
            self._token = saved
        return self._token

    @property
    def client(self) -> "Client":
        """A client that shows the token, a new one where it is over soon and can be refreshed."""
        if self._client is None:
            self._client = signed_in(self.profile.ca, self.token, self.token_file)
            if self.token.bound and _soon_over(self.token):
                self._token = refreshed(self._client, self.token, self.token_file) or self.token
                self._client = signed_in(self.profile.ca, self._token, self.token_file)
        self._client.approval = self.approval
        return self._client

    @property
    def url(self) -> str:
        """Where the region is.

        Raises:
            CliError: the profile does not say.
        """
        if not self.profile.url:
            raise CliError(
                f"profile {self.profile_name!r} does not say where the region is",
                hint="keystead login --url https://HOST:PORT --ca FILE --tenancy NAME --user NAME",
                code="NotSignedIn",
                exit_code=NOT_SIGNED_IN,
            )
        return self.profile.url

    def compartment(self, reference: str | None) -> str:
        """The id of the compartment meant by `reference` (a path from the root, or an id; None: the default)."""
        reference = self.profile.compartment if reference is None else reference
        if is_id(reference, "compartment", "tenancy"):
            return reference
        if is_id(reference):
            raise usage(f"{reference} is not the id of a compartment")
        at = self.token.tenancy_id
        path = ""
        for name in filter(None, _SEPARATOR.split(reference)):
            path = f"{path}/{name}"
            if path not in self._compartments:
                found = _named(list(self.client.items("/compartments", parent_id=at, name=name)), name)
                self._compartments[path] = _single("compartment", path.lstrip("/"), found, "")["id"]
            at = self._compartments[path]
        return at

    def find(self, kind: Kind, reference: str, compartment: str | None = None) -> Json:
        """The thing of `kind` that `reference` names, as lists show it.

        Raises:
            CliError: none or several are called so.
        """
        if is_id(reference, kind.label):
            return self.client.get(f"{kind.path}/{reference}").data
        if is_id(reference):
            raise usage(f"{reference} is not the id of a {kind.noun}")
        where, name = _split(reference) if kind.placed else (None, reference)
        inside = self.compartment(compartment if where is None else where) if kind.placed else None
        found = _named(list(self.client.items(kind.path, name=name, compartment_id=inside)), name)
        shown = (where if where is not None else compartment) or self.profile.compartment if kind.placed else ""
        return _single(kind.noun, name, found, shown)

    def resolve(self, kind: Kind, reference: str, compartment: str | None = None) -> str:
        """The id of the thing of `kind` that `reference` names. An id is not checked here."""
        if is_id(reference, kind.label):
            return reference
        return str(self.find(kind, reference, compartment)["id"])

    def path(self, kind: Kind, reference: str, compartment: str | None = None) -> str:
        """Where the thing of `kind` that `reference` names is, below `/keystead/v1`."""
        return f"{kind.path}/{self.resolve(kind, reference, compartment)}"

    def confirm(self, question: str, yes: bool) -> None:
        """Ask before something that cannot be taken back.

        Raises:
            CliError: the answer was no, or nobody can be asked.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise usage(f"{question} needs --yes when nobody can be asked")
        print(f"{question}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CliError("nothing was changed", code="Declined")

    def explain(self, error: CliError) -> CliError:
        """`error` with what only this side knows: which profile to sign in to, and since when the token is void."""
        if error.exit_code != NOT_SIGNED_IN or self._token is None:
            return error
        hint = f"the token was valid until {self._token.expires_at}; {_login_hint(self.profile_name)}"
        return CliError(error.message, hint=hint, code=error.code, request_id=error.request_id, exit_code=NOT_SIGNED_IN)


def is_id(text: str, *types: str) -> bool:
    """Whether `text` is an id, of one of `types` if given."""
    from keystead.core.ids import looks_like_id

    return looks_like_id(text) and (not types or text.split(".")[1] in types)


def connect(url: str, ca: str = "", token: str | None = None) -> "Client":
    """A `Client`; http and ssl are loaded now, not before somebody needs them."""
    from keystead.cli.client import Client

    return Client(url, ca, token)


def signed_in(ca: str, token: SavedToken, file: TokenFile) -> "Client":
    """A `Client` that shows `token`, and proves that it has the key where it is bound to one."""
    from keystead.cli.client import Client
    from keystead.cli.proof import SessionKey

    return Client(token.url, ca, token.token, SessionKey.from_pem(file.load_key()) if token.bound else None)


def refreshed(client: "Client", token: SavedToken, file: TokenFile) -> SavedToken | None:
    """The token that follows on `token`, kept in its place; None when the region gives none."""
    try:
        answer = client.post("/auth/tokens/refresh").data
    except CliError:
        return None
    new = replace(token, token=answer["token"], token_id=answer["token_id"], expires_at=answer["expires_at"])
    file.save(new)
    return new


def _soon_over(token: SavedToken) -> bool:
    """Whether it is good for less than ten minutes more, but still is."""
    try:
        left = datetime.fromisoformat(token.expires_at) - datetime.now(UTC)
    except (ValueError, TypeError):
        return False
    return timedelta() < left < REFRESH_BEFORE


def _login_hint(profile: str) -> str:
    return "run `keystead login`" if profile == "default" else f"run `keystead --profile {profile} login`"


def _split(reference: str) -> tuple[str | None, str]:
    """`a/b/name` -> (`a/b`, `name`); a bare name has no place of its own."""
    parts = _SEPARATOR.split(reference)
    return (None, reference) if len(parts) == 1 else ("/".join(parts[:-1]), parts[-1])


def _named(items: list[Json], name: str) -> list[Json]:
    """Those called exactly `name`; deleted ones only when there is nothing else."""
    same = [item for item in items if item.get("name") == name]
    return [item for item in same if item.get("state") != "DELETED"] or same


def _single(kind: str, name: str, found: list[Any], where: str) -> Json:
    if len(found) == 1:
        return dict(found[0])
    place = f" in compartment {where.replace(':', '/').strip('/')}" if where.strip("/:") else ""
    if not found:
        raise CliError(
            f"{kind} {name!r} does not exist{place}, or you may not see it",
            hint="check the name, the compartment (--compartment, or PATH/NAME) and your policies",
            code="NotFound",
            exit_code=NOT_FOUND,
        )
    ids = "\n".join(item["id"] for item in found)
    raise usage(f"{len(found)} are called {name!r}{place}: say which by id", ids)
