"""The socket of a server, bound before anything is started: what is wrong with the address is said in one line."""

from __future__ import annotations

import errno
import ipaddress
import socket

from toolfoundry.errors import InputError

__all__ = ["is_loopback", "listen", "url_of"]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises InputError where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError):
        raise InputError(f"--host: found {host!r}, expected an address or a name of this machine") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use; give another with --port, or 0 for any that is free"
        else:
            reason = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise InputError(reason) from None
    return bound


def url_of(bound: socket.socket, path: str = "") -> str:
    """Where clients on this machine find it."""
    address: tuple[str, int] = bound.getsockname()[:2]
    host, port = address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(bound.getsockname()[0]).is_loopback
