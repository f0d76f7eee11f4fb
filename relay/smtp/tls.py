"""Server certificates: TLS 1.2 and up, and changed in place while sessions go on."""

from __future__ import annotations

import ssl
from pathlib import Path


class Certificate:
    """A certificate chain and its key, as files; `context` is what listeners use.

    One context for the life of the process: `reload()` changes the certificate inside it, so that
    new sessions get the new one and nobody is cut off.
    """

    def __init__(self, cert: Path | str, key: Path | str) -> None:
        """Raises OSError, ssl.SSLError (unreadable, or the key is not the certificate's)."""
        self._cert = str(cert)
        self._key = str(key)
        self.context = self._make()

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        # Without a password callback OpenSSL asks the terminal for that of an encrypted key, and waits.
        context.load_cert_chain(self._cert, self._key, password=lambda: b"")
        return context

    def reload(self) -> None:
        """Read the files again.  Raises as the constructor does; the old certificate then stays."""
        self._make()  # a half-loaded pair must not get into the context in use
        self.context.load_cert_chain(self._cert, self._key, password=lambda: b"")
