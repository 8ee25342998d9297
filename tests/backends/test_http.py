"""The transport between hops, against our own server and against peers that misbehave."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import anyio.abc
import pytest
from anyio.streams.tls import TLSListener
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from confsec.backends.api import HttpRequest, header
from confsec.backends.http import HttpLimits, HttpTransport
from confsec.errors import (
    ConfsecError,
    ConnectError,
    DeadlineError,
    DisconnectedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from confsec.roles.config import RoleConfig
from tests.roles.support import Echo, fetch, read, served

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(limits: HttpLimits | None = None, **options: str) -> AsyncGenerator[HttpTransport]:
    transport = HttpTransport(limits, **options)  # type: ignore[arg-type]
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def peer(answer: bytes, *, stay: bool = False) -> AsyncGenerator[str]:
    """A server that reads something, writes `answer` and closes, or stays."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await stream.receive()
                await stream.send(answer)
                while stay:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


async def parts(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        yield item


@pytest.mark.parametrize("content", [b"hello", parts(b"he", b"", b"llo")], ids=["whole", "parts"])
async def test_body_goes_there_and_back(content: bytes | AsyncIterator[bytes]) -> None:
    async with served(Echo()) as url, opened() as transport:
        request = HttpRequest(method="POST", url=url + "/echo", content=content)
        if isinstance(content, bytes):
            assert await fetch(transport, request) == (200, b"hello")
        else:
            fresh = HttpRequest(method="POST", url=url + "/echo", content=parts(b"he", b"", b"llo"))
            assert await fetch(transport, fresh) == (200, b"hello")


async def test_answer_names_no_server_and_no_date() -> None:
    async with (
        served(Echo()) as url,
        opened() as transport,
        transport.stream(HttpRequest(method="POST", url=url + "/echo")) as response,
    ):
        assert header(response.headers, "server") is None
        assert header(response.headers, "date") is None
        assert await read(response) == b""


async def test_request_has_only_the_fields_that_it_was_given() -> None:
    echo = Echo()
    async with served(echo) as url, opened() as transport:
        await fetch(transport, HttpRequest(method="POST", url=url + "/echo", headers=(("x-a", "1"),), content=b"x"))
        assert echo.seen == [("/echo", (("host", url.removeprefix("http://")), ("x-a", "1"), ("content-length", "1")))]


async def test_connection_is_used_again() -> None:
    async with served(Echo()) as url, opened(HttpLimits(max_connections=1, pool_timeout=5)) as transport:
        for _ in range(3):
            assert await fetch(transport, HttpRequest(method="POST", url=url + "/echo", content=b"x")) == (200, b"x")
        assert [len(idle) for idle in transport._idle.values()] == [1]


async def test_unix_socket_serves(tmp_path: Path) -> None:
    path = tmp_path / "role.sock"
    config = RoleConfig(uds=str(path), shutdown_timeout=0.5)
    async with served(Echo(), config) as uds, opened(uds=uds) as transport:
        assert path.stat().st_mode & 0o777 == 0o600
        assert await fetch(transport, HttpRequest(method="POST", url="http://role/echo", content=b"x")) == (200, b"x")
    assert not path.exists()


async def test_source_address_is_the_one_asked_for() -> None:
    seen: list[str] = []

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            seen.append(stream.extra(anyio.abc.SocketAttribute.remote_address)[0])
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/"
        async with opened(source_address="127.0.0.77") as transport:
            assert await fetch(transport, HttpRequest(method="GET", url=url)) == (200, b"")
        tasks.cancel_scope.cancel()
    assert seen == ["127.0.0.77"]


async def test_nobody_listening_is_a_connect_error(free_tcp_port: int) -> None:
    async with opened() as transport:
        with pytest.raises(ConnectError):
            await fetch(transport, HttpRequest(method="GET", url=f"http://127.0.0.1:{free_tcp_port}/"))


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", DisconnectedError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", RemoteProtocolError),
        (b"220 mail.example ESMTP\r\n\r\n", RemoteProtocolError),
    ],
    ids=["nothing", "cut length", "cut chunks", "bad chunk", "not HTTP"],
)
async def test_broken_answer_raises(answer: bytes, error: type[ConfsecError]) -> None:
    async with peer(answer) as url, opened() as transport:
        with pytest.raises(error) as raised:
            await fetch(transport, HttpRequest(method="GET", url=url))
        assert type(raised.value) is error


async def test_silent_peer_is_a_deadline_error() -> None:
    async with peer(b"", stay=True) as url, opened(HttpLimits(read_timeout=0.1)) as transport:
        with pytest.raises(DeadlineError):
            await fetch(transport, HttpRequest(method="GET", url=url))


async def test_peer_that_takes_nothing_is_a_deadline_error() -> None:
    async def much() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    with socket.create_server(("127.0.0.1", 0)) as listener:  # connections wait to be accepted, and nobody does
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with opened(HttpLimits(write_timeout=0.2)) as transport:
            with pytest.raises(DeadlineError):
                await fetch(transport, HttpRequest(method="POST", url=url, content=much()))


async def test_endless_request_ends_with_the_connection() -> None:
    stopped = anyio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            stopped.set()

    async with peer(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n") as url, opened() as transport:
        with anyio.fail_after(5), suppress(DisconnectedError):  # closing on unread bytes may take the answer away
            assert await fetch(transport, HttpRequest(method="POST", url=url, content=endless())) == (413, b"")
    assert stopped.is_set()


async def test_no_free_connection_is_a_connect_error() -> None:
    async with (
        served(Echo()) as url,
        opened(HttpLimits(max_connections=1, pool_timeout=0.1)) as transport,
        transport.stream(HttpRequest(method="GET", url=url + "/endless")),
    ):
        with pytest.raises(ConnectError):
            await fetch(transport, HttpRequest(method="POST", url=url + "/echo"))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:notaport/", "http://127.0.0.1/a b"])
async def test_url_that_cannot_be_sent_is_refused(url: str) -> None:
    async with opened() as transport:
        with pytest.raises(LocalProtocolError):
            await fetch(transport, HttpRequest(method="GET", url=url))


async def test_header_that_cannot_be_sent_is_refused() -> None:
    async with served(Echo()) as url, opened() as transport:
        for value in ("snowman ☃", "a\r\nb: c"):
            with pytest.raises(LocalProtocolError):
                await fetch(transport, HttpRequest(method="POST", url=url + "/echo", headers=(("x-a", value),)))


async def test_leaving_early_reaches_the_application() -> None:
    echo = Echo()
    async with served(echo) as url, opened() as transport:
        async with transport.stream(HttpRequest(method="GET", url=url + "/endless")) as response:
            await anext(response.content)
        with anyio.fail_after(5):
            await echo.cancelled.wait()


async def test_cancelling_before_the_head_reaches_the_application() -> None:
    echo = Echo()
    async with served(echo) as url, opened() as transport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch, transport, HttpRequest(method="GET", url=url + "/wait"))
            with anyio.fail_after(5):
                await echo.entered.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(5):
            await echo.cancelled.wait()


async def test_slow_reader_holds_the_server_back() -> None:
    echo = Echo()
    async with (
        served(echo) as url,
        opened() as transport,
        transport.stream(HttpRequest(method="GET", url=url + "/endless")) as response,
    ):
        await anext(response.content)
        before = -1
        while before != echo.written:  # until all buffers between us are full
            before = echo.written
            await anyio.sleep(0.2)
        # What is under way stands in the buffers of two sockets and little else.
        assert echo.written < 16 << 20


async def test_connection_that_the_peer_closed_is_not_used_again() -> None:
    async with served(Echo(), RoleConfig(keep_alive=0.1, shutdown_timeout=0.5)) as url, opened() as transport:
        for _ in range(2):
            assert await fetch(transport, HttpRequest(method="POST", url=url + "/echo", content=b"x")) == (200, b"x")
            await anyio.sleep(0.5)


async def test_connection_that_is_idle_for_too_long_is_closed() -> None:
    async with served(Echo()) as url, opened(HttpLimits(keep_alive=0.05)) as transport:
        used = []
        for _ in range(2):
            assert await fetch(transport, HttpRequest(method="POST", url=url + "/echo", content=b"x")) == (200, b"x")
            used += [connection for idle in transport._idle.values() for connection in idle]
            await anyio.sleep(0.1)
        assert len(set(used)) == 2


async def test_closed_transport_can_be_used_again() -> None:
    async with served(Echo()) as url, opened() as transport:
        for _ in range(2):
            assert await fetch(transport, HttpRequest(method="POST", url=url + "/echo", content=b"x")) == (200, b"x")
            await transport.aclose()


async def test_waiting_request_gets_the_connection_that_becomes_free() -> None:
    async with served(Echo()) as url, opened(HttpLimits(max_connections=1)) as transport:
        answers: list[tuple[int, bytes]] = []

        async def ask(content: bytes) -> None:
            answers.append(await fetch(transport, HttpRequest(method="POST", url=url + "/echo", content=content)))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(ask, b"%d" % number)
        assert sorted(answers) == [(200, b"%d" % number) for number in range(5)]


async def test_refusal_of_a_request_that_is_still_being_sent_is_read() -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield bytes(65536)

    async with served(Echo(RoleConfig(max_body=100, shutdown_timeout=0.5))) as url, opened() as transport:
        request = HttpRequest(
            method="POST", url=url + "/echo", headers=(("content-length", str(8 * 65536)),), content=much()
        )
        status, _ = await fetch(transport, request)
        assert status == 413


async def test_informational_answers_are_passed_over() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with peer(answer) as url, opened() as transport:
        assert await fetch(transport, HttpRequest(method="GET", url=url + "?a=b")) == (200, b"ok")


async def test_answer_that_ends_with_its_connection_is_whole() -> None:
    async with peer(b"HTTP/1.1 200 OK\r\n\r\nto the end") as url, opened() as transport:
        assert await fetch(transport, HttpRequest(method="GET", url=url)) == (200, b"to the end")


async def test_endless_header_of_an_answer_is_refused() -> None:
    async with peer(b"HTTP/1.1 200 OK\r\nx: " + b"a" * (1 << 18), stay=True) as url, opened() as transport:
        with pytest.raises(RemoteProtocolError):
            await fetch(transport, HttpRequest(method="GET", url=url))


async def test_https_is_spoken_to_those_whom_we_trust() -> None:
    server, client, stranger = tls_contexts()

    async def handle(stream: anyio.abc.ByteStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as plain, anyio.create_task_group() as tasks:
        url = f"https://localhost:{plain.extra(anyio.abc.SocketAttribute.local_port)}/"
        listener = TLSListener(plain, server, standard_compatible=False)
        tasks.start_soon(listener.serve, handle)
        transport = HttpTransport(ssl_context=client)
        assert await fetch(transport, HttpRequest(method="GET", url=url)) == (200, b"ok")
        await transport.aclose()
        with pytest.raises(ConnectError):
            await fetch(HttpTransport(ssl_context=stranger), HttpRequest(method="GET", url=url))
        tasks.cancel_scope.cancel()


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """Return contexts for a server named localhost, a client that trusts it, and one that trusts nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        server.load_cert_chain(file.name)
    client = ssl.create_default_context(cadata=pem.decode())
    return server, client, ssl.create_default_context()
