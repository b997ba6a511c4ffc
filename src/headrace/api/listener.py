"""Where the server listens: bound before anything long, so that a taken port shows at once."""

import socket

from headrace.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet; port 0 takes any free port.

    Raises ConfigError naming the host and port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        raise ConfigError(
            f"cannot listen on {host} port {port}: {exc.strerror}. Choose another with --port."
        ) from exc
    return sock


def address(sock: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
