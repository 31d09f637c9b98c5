"""Signing in on a page: in the browser of this machine (RFC 8252, PKCE), or on another device (RFC 8628)."""

import base64
import hashlib
import secrets
import time
from urllib.parse import urlencode, urlsplit

from keystead.cli.client import Client
from keystead.cli.console import Console
from keystead.cli.exits import NOT_SIGNED_IN, CliError, usage
from keystead.cli.loopback import Loopback, open_browser
from keystead.cli.profile import Profile
from keystead.cli.wire import Json

DEVICE_SECONDS = 600.0


def in_browser(client: Client, profile: Profile, public_key: str, console: Console) -> Json:
    """The answer with the token that somebody allowed in the browser."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    with Loopback() as callback:
        asked = {
            "response_type": "code",
            "client_id": "keystead-cli",
            "redirect_uri": callback.url,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": callback.state,
            **{name: value for name in ("tenancy", "user") if (value := getattr(profile, name))},
        }
        page = f"{_web(profile.url)}/login/authorize?{urlencode(asked)}"
        console.remark(f"sign in on this page:\n  {page}")
        open_browser(page)
        said = callback.wait()
    if "code" not in said:
        raise CliError("it was denied on the page", code="LoginDenied", exit_code=NOT_SIGNED_IN)
    body = {"way": "browser", "code": said["code"], "code_verifier": verifier, "public_key": public_key}
    return client.post("/auth/logins", body).data


def on_device(client: Client, profile: Profile, public_key: str, console: Console) -> Json:
    """The answer with the token that somebody allowed on another device."""
    begun = client.post("/auth/device").data
    console.remark(f"open {_web(profile.url)}{begun['verification_path']} anywhere and type in: {begun['user_code']}")
    pause, until = float(begun["interval"]), time.monotonic() + DEVICE_SECONDS
    body = {"way": "device", "code": begun["device_code"], "public_key": public_key}
    while time.monotonic() < until:
        try:
            return client.post("/auth/logins", body).data
        except CliError as error:
            if error.code not in ("LoginPending", "SlowDown", "TooManyRefusals"):
                raise
            pause += 5.0 * (error.code != "LoginPending")
        time.sleep(pause)
    raise CliError("nobody has allowed it in time", hint="keystead login --device", exit_code=NOT_SIGNED_IN)


def _web(url: str) -> str:
    if urlsplit(url).scheme == "unix":
        raise usage("a browser cannot open a unix socket", "use the https URL, or --password")
    return url.rstrip("/")
