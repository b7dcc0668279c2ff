"""The socket that workers answer on: each has one of its own on the shared port."""

import socket


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket of this worker's own on the shared port: the kernel spreads connections over the workers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener
