"""Where does one reply end? The framing of the interactive Runtime API, without I/O.

A session starts with the command `prompt`; after that HAProxy ends every reply with `\\n> `, and an empty reply is
just that (measured on 2.5-3.4). `\\n\\n> ` would be wrong: 2.6 leaves out the line feed that ends some sentences.
One command is one line ended by LF; CR LF would cost an extra prompt on 3.2 and later.
"""

from __future__ import annotations

_END = b"\n> "


class Framing:
    """Splits the bytes that HAProxy sends into replies, however the network fragments them."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # no end of a reply starts before this offset

    def feed(self, data: bytes) -> list[str]:
        """Add the next bytes and return the replies that they complete, in order, without trailing line feeds.

        Bytes that are not UTF-8 become U+FFFD.
        """
        buffer = self._buffer
        buffer += data
        replies = []
        begin = 0
        end = buffer.find(_END, self._searched)
        while end >= 0:
            replies.append(buffer[begin:end].decode("utf-8", "replace").rstrip("\n"))
            begin = end + len(_END)
            end = buffer.find(_END, begin)
        del buffer[:begin]
        self._searched = max(0, len(buffer) - len(_END) + 1)
        return replies

    @property
    def partial(self) -> str:
        """The received part of the next reply."""
        return self._buffer.decode("utf-8", "replace")
