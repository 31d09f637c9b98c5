"""A real OpenID Connect provider (Canaille) for a test, with one person, one group and one client.

Run with the Python of its own environment: `oidc_provider.py PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI`. Says `ready`;
then takes a line on standard input for each change and answers `done`: `leave` takes the person out of the group,
`rotate` replaces its signing key.
"""

import json
import sys
import threading

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

LONG_GROUP = "cn=database-administrators-of-the-whole-company,ou=groups,dc=corp,dc=example"


def key(name: str) -> dict[str, str]:
    return RSAKey.generate_key(2048, parameters={"kid": name, "use": "sig", "alg": "RS256"}).as_dict(private=True)


def main() -> None:
    port, client_id, secret, redirect_uri = int(sys.argv[1]), *sys.argv[2:5]
    app = create_app(
        {
            "SECRET_KEY": "x" * 32,
            "SERVER_NAME": f"127.0.0.1:{port}",
            "PREFERRED_URL_SCHEME": "http",
            "WTF_CSRF_ENABLED": False,
            "CANAILLE": {"DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False, "FORCE_HTTPS": False},
            "CANAILLE_OIDC": {"REQUIRE_NONCE": True, "ACTIVE_JWKS": [key("first")]},
        }
    )
    with app.app_context():
        backend = Backend.instance
        ada = models.User(
            user_name="ada", family_name="Lovelace", formatted_name="Ada Lovelace", emails=["ada@corp.example"],
            password="correct horse battery",
        )  # fmt: skip
        backend.save(ada)
        group = models.Group(display_name=LONG_GROUP, members=[ada])
        backend.save(group)
        client = models.Client(
            client_id=client_id, client_secret=secret, client_name="Keystead", redirect_uris=[redirect_uri],
            grant_types=["authorization_code"], response_types=["code"], scope=["openid", "profile", "email", "groups"],
            token_endpoint_auth_method="client_secret_basic",
        )  # fmt: skip
        backend.save(client)
        client.audience = [client]
        backend.save(client)
    server = make_server("127.0.0.1", port, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        with app.app_context():
            if line.strip() == "leave":
                held = Backend.instance.get(models.Group, display_name=LONG_GROUP)
                Backend.instance.delete(held)
            elif line.strip() == "rotate":
                app.config["CANAILLE_OIDC"]["ACTIVE_JWKS"] = [key("second")]
        print("done", flush=True)
    print(json.dumps({}), file=sys.stderr)


main()
