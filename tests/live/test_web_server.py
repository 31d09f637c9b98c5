"""The pipeline behind its real server: what only real sockets show."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port

pytestmark = pytest.mark.live

APP = """
import asyncio, json, os, pathlib, socket, uvloop
from keystead.web.app import make_app
from keystead.web.listener import Listener
from keystead.web.pipeline import Limits
from tests.web.region import open_region

region = open_region(pathlib.Path(os.environ["STATE"]))
pathlib.Path(os.environ["STATE"], "info.json").write_text(json.dumps({"ids": region.ids, "tokens": region.tokens}))


async def serve():
    listener = Listener(make_app(region.services, Limits(body_s=0.4)))
    listener.listen(socket.create_server(("127.0.0.1", int(os.environ["PORT"]))))
    await asyncio.Event().wait()


uvloop.run(serve())
"""


class Server:
    def __init__(self, port: int, info: dict[str, dict[str, str]]) -> None:
        self.port, self.ids, self.tokens = port, info["ids"], info["tokens"]

    def raw(self, sent: bytes, timeout: float = 10) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(sent)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            return received

    def request(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        text = "\r\n".join(
            (
                f"{line} HTTP/1.1",
                "Host: x",
                "Connection: close",
                f"Authorization: Bearer {self.tokens['root']}",
                *headers,
            )
        )
        head, _, rest = self.raw(text.encode() + b"\r\n\r\n" + body).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        return int(first.split()[1]), dict(one.lower().split(": ", 1) for one in lines), rest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("web")
    (state / "served.py").write_text(APP)
    port = free_port()
    root = Path(__file__).parents[2]
    paths = os.pathsep.join(str(path) for path in (state, root, root / "src"))
    child = subprocess.Popen(
        [sys.executable, str(state / "served.py")],
        env={"PATH": os.environ["PATH"], "STATE": str(state), "PYTHONPATH": paths, "PORT": str(port)},
        stdout=(state / "log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        made = _wait(state, port, child)
        yield made
    finally:
        child.terminate()
        child.wait(10)


def _wait(state: Path, port: int, child: "subprocess.Popen[bytes]") -> Server:
    for _ in range(300):
        assert child.poll() is None, (state / "log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return Server(port, json.loads((state / "info.json").read_text()))
        except OSError:
            time.sleep(0.1)  # nothing tells when another process listens
    raise AssertionError((state / "log").read_text())


def code(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[2])["code"]


def test_the_raw_target_is_routed(server: Server) -> None:
    key = server.ids["key_id"]
    assert server.request(f"GET /keystead/v1/keys/{key}")[0] == 200
    assert code(server.request(f"GET /keystead/v1/keys%2F{key}")) == (404, "NoSuchOperation")
    assert code(server.request(f"GET /keystead/v1//keys/{key}")) == (404, "NoSuchOperation")
    assert code(server.request(f"GET /keystead/v1/x/../keys/{key}")) == (404, "NoSuchOperation")
    assert code(server.request(f"LIST /keystead/v1/keys/{key}")) == (405, "MethodNotAllowed")


def test_head_and_headers(server: Server) -> None:
    status, headers, body = server.request(f"HEAD /keystead/v1/keys/{server.ids['key_id']}")
    assert (status, body) == (200, b"") and int(headers["content-length"]) > 0
    assert headers["cache-control"] == "no-store" and headers["etag"] == '"1"'


def test_a_large_body_is_refused_before_it_is_sent(server: Server) -> None:
    answer = server.request("POST /keystead/v1/groups", "Content-Type: application/json", f"Content-Length: {1 << 30}")
    assert code(answer) == (413, "TooLarge")


def test_a_chunked_body(server: Server) -> None:
    headers = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    good = b'5\r\n{"nam\r\nf\r\ne":"chunked-g"}\r\n0\r\n\r\n'
    assert server.request("POST /keystead/v1/groups", *headers, body=good)[0] == 201
    broken = b'zz\r\n{"name":"x"}\r\n0\r\n\r\n'
    assert code(server.request("POST /keystead/v1/groups", *headers, body=broken)) == (400, "MalformedBody")
    endless = b"".join(b"10000\r\n" + b" " * 65536 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
    assert code(server.request("POST /keystead/v1/groups", *headers, body=endless)) == (413, "TooLarge")


def test_a_body_that_does_not_come_is_waited_for_only_so_long(server: Server) -> None:
    began = time.monotonic()
    answer = server.request("POST /keystead/v1/groups", "Content-Type: application/json", "Content-Length: 20")
    assert code(answer) == (408, "BodyTimeout") and time.monotonic() - began < 5


def test_what_was_asked_is_done_when_the_client_has_gone(server: Server) -> None:
    """Once it has begun. Whoever goes before that has asked for nothing, so each try stays a millisecond longer."""
    body = b'{"name":"left-behind"}'
    head = (
        f"POST /keystead/v1/groups HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.tokens['root']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    found = []
    for tries in range(50):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + body)
            time.sleep(tries / 1000)
        found = json.loads(server.request("GET /keystead/v1/groups?name=left-behind")[2])["items"]
        if found:
            break
    assert [item["name"] for item in found] == ["left-behind"]


def test_a_stream(server: Server) -> None:
    status, headers, body = server.request("POST /keystead/v1/state/actions/backup")
    assert status == 200 and headers["content-type"] == "application/octet-stream"
    assert b"one" in body and b"three" in body and body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x00\xa5\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50, b"A" * 100_000]
)
def test_garbage_does_not_stop_it(server: Server, sent: bytes) -> None:
    with contextlib.suppress(TimeoutError, ConnectionError):
        server.raw(sent, timeout=2)
    assert server.request("GET /keystead/v1/health")[0] == 200
