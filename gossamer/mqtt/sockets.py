"""A connected, metered socket: name resolution, TCP and TLS inside one deadline."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from gossamer.errors import BrokerUnreachable, ConfigError
from gossamer.mqtt.account import ByteAccount, FrameMeter, direction_account, tcp_counts
from gossamer.mqtt.settings import MqttSettings

#: How often a blocking step looks whether it should stop: a SIGTERM is noticed within this time.
_SLICE_SECONDS = 0.2

Stop = Callable[[], bool]


class MeteredSocket:
    """The few socket methods that paho uses, counting every byte that passes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._up, self._down = FrameMeter(), FrameMeter()
        self._final: ByteAccount | None = None
        self.closing: Callable[[int], None] = lambda _fd: None
        self.session: ssl.SSLSession | None = None  # to resume next time; known once closed
        self.payload_up = 0
        self.payload_down = 0

    def recv(self, buffer_size: int) -> bytes:
        data = self._sock.recv(buffer_size)
        self._down.feed(data)
        return data

    def send(self, buffer: bytes | bytearray) -> int:
        sent = self._sock.send(buffer)
        self._up.feed(memoryview(buffer)[:sent])
        return sent

    def pending(self) -> int:
        """Bytes that TLS has decrypted and nobody has read: a selector does not see them."""
        return self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0

    def fileno(self) -> int:
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    @property
    def received(self) -> int:
        """MQTT bytes received so far."""
        return self._down.total

    def account(self, *, closed: bool = False) -> ByteAccount:
        """Bytes by cause since the socket was opened."""
        if self._final is not None:
            return self._final
        tcp = tcp_counts(self._sock)
        up = direction_account(self._up, self.payload_up, tcp, "up", tls=self._tls, closed=closed)
        down = direction_account(self._down, self.payload_down, tcp, "down", tls=self._tls, closed=closed)
        return ByteAccount(up, down)

    def close(self) -> None:
        if self._final is None:
            self._final = self.account(closed=True)
            if isinstance(self._sock, ssl.SSLSocket):
                self.session = self._sock.session
            self.closing(self._sock.fileno())
            self._sock.close()


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """The TLS context of ``settings``, or None for plaintext.

    Raises :class:`ConfigError` for files that cannot be used.
    """
    tls = settings.tls
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file and str(tls.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.certificate_file is not None:
            context.load_cert_chain(str(tls.certificate_file), tls.key_file and str(tls.key_file))
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"TLS files {tls}: expected PEM files that can be read: {error}") from error
    return context


def open_socket(
    settings: MqttSettings, context: ssl.SSLContext | None, session: ssl.SSLSession | None,
    deadline: float, stop: Stop,
) -> MeteredSocket:  # fmt: skip
    """Resolve, connect and shake hands before ``deadline`` (``time.monotonic``).

    Raises :class:`BrokerUnreachable` with what to look at; ``stop`` is asked several times a second.
    """
    error: Exception | None = None
    addresses = _resolve(settings, deadline, stop)
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        now = time.monotonic()
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            # An address that swallows packets must not use up the time of the others.
            _connect(sock, address, settings, now + (deadline - now) / left, stop)
            if context is not None:
                sock = _handshake(sock, context, session, settings, deadline, stop)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.stall_seconds * 1000))
        except OSError as err:
            sock.close()
            error = err
        except BrokerUnreachable as err:
            sock.close()
            if left == 1 or stop():
                raise
            error = err
        else:
            return MeteredSocket(sock)
    if isinstance(error, ssl.SSLError):
        raise BrokerUnreachable(
            f"TLS with broker {settings.where} failed: {error}. Check ca_file, the host name in the broker's "
            "certificate, this machine's clock, and that the port speaks TLS"
        ) from error
    raise BrokerUnreachable(
        f"no broker answers at {settings.where}: {error}. Check host and port, that the broker runs, and the firewall"
    ) from error


def _resolve(settings: MqttSettings, deadline: float, stop: Stop) -> list[tuple[int, Any]]:
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    # getaddrinfo cannot be interrupted and may hang for a minute on a link that is down.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    while thread.is_alive():
        _check_time(settings, deadline, stop, "its name to resolve")
        thread.join(_SLICE_SECONDS)
    if isinstance(found[0], Exception):
        raise BrokerUnreachable(
            f"the name of broker {settings.where} does not resolve: {found[0]}. Check host and the network"
        )
    return [(entry[0], entry[4]) for entry in found[0]]


def _connect(sock: socket.socket, address: Any, settings: MqttSettings, deadline: float, stop: Stop) -> None:
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        while not _wait(sock, select.POLLOUT):
            _check_time(settings, deadline, stop, "an answer")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _wait(sock: socket.socket, events: int) -> bool:
    """Wait one slice; poll rather than select, which fails for descriptors from 1,024 on."""
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(_SLICE_SECONDS * 1000))


def _handshake(
    sock: socket.socket, context: ssl.SSLContext, session: ssl.SSLSession | None, settings: MqttSettings,
    deadline: float, stop: Stop,
) -> ssl.SSLSocket:  # fmt: skip
    secure = context.wrap_socket(sock, server_hostname=settings.host, do_handshake_on_connect=False, session=session)
    while True:
        _check_time(settings, deadline, stop, "the TLS handshake")
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            _wait(secure, select.POLLIN)
        except ssl.SSLWantWriteError:
            _wait(secure, select.POLLOUT)
        except OSError:
            secure.close()
            raise
        else:
            return secure


def _check_time(settings: MqttSettings, deadline: float, stop: Stop, what: str) -> None:
    if stop():
        raise BrokerUnreachable(f"stopped while connecting to broker {settings.where}")
    if time.monotonic() >= deadline:
        raise BrokerUnreachable(
            f"broker {settings.where}: waited {settings.connect_timeout_seconds:.0f} s for {what}. "
            "Check host, port, firewall and signal"
        )
