"""Whether a region answers: one request to /health, over TLS verified by the region's own CA, or over its socket."""

import http.client
import json
import socket
import ssl

from keystead.adapters.unix_http import UnixConnection
from keystead.server.authority import API
from keystead.server.serve import socket_path
from keystead.server.settings import Effective

HEALTH = "/keystead/v1/health"


def http_health(effective: Effective, timeout: float = 2.0) -> dict[str, str] | None:
    """What the public face says of itself; None when it does not answer."""
    listen = effective.settings.listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104  # not to listen on: what stands for every address
    if not listen.tls:
        return _ask(http.client.HTTPConnection(host, listen.port, timeout=timeout))
    try:
        context = ssl.create_default_context(cafile=str(effective.state / API.certificate))
    except OSError:
        return None
    # The certificate names this machine, not every address it may listen on.
    name = host if host in ("127.0.0.1", "::1", "localhost") else "localhost"
    connection = http.client.HTTPSConnection(name, listen.port, timeout=timeout, context=context)
    if name != host:
        raw = socket.create_connection((host, listen.port), timeout)
        connection.sock = context.wrap_socket(raw, server_hostname=name)
    return _ask(connection)


def local_health(effective: Effective, timeout: float = 2.0) -> dict[str, str] | None:
    """The same of the unix socket."""
    return _ask(UnixConnection(socket_path(effective), timeout))


def _ask(connection: http.client.HTTPConnection) -> dict[str, str] | None:
    try:
        connection.request("GET", HEALTH)
        answer = connection.getresponse()
        found = json.loads(answer.read(65536))
        return found if answer.status == 200 and isinstance(found, dict) else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
