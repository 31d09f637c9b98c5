"""Foreign clients over the application in this process: their own HTTP library, a transport that calls ASGI."""

from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict
from tests.web.asgi import Client
from urllib3.response import HTTPResponse


class Transport(BaseAdapter):
    """Sends what `requests` has prepared, byte for byte, to the application behind `client`."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        target = urlsplit(request.url or "")
        path = target.path + (f"?{target.query}" if target.query else "")
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        headers = {name: value if isinstance(value, str) else value.decode() for name, value in request.headers.items()}
        reply = self.client.call(request.method or "", "!" + path, raw=body, headers=headers, token="")
        answer = requests.Response()
        answer.status_code, answer.request, answer.url = reply.status, request, request.url or ""
        answer.headers = CaseInsensitiveDict(reply.headers)
        answer._content = reply.body
        answer.raw = HTTPResponse(body=reply.body, headers=reply.headers, status=reply.status)
        return answer

    def close(self) -> None:
        self.client.close()


def session(client: Client) -> requests.Session:
    """A session of `requests` whose every request goes to `client`."""
    made = requests.Session()
    made.trust_env = False
    made.mount("https://", Transport(client))
    return made
