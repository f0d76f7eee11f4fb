"""A name server on loopback that knows the benchmark's world and nothing else.

The sending domain has SPF, DKIM and DMARC; every other name has a mail exchanger and an address.
Answers live for a day, so that each question is asked once.

    python -m tests.bench.nameserver '{"txt": {"acme.example": "v=spf1 ..."}}'      prints its port
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys

A, SOA, MX, TXT = 1, 6, 15, 16
DAY = 86_400
SAME_NAME = b"\xc0\x0c"  # points at the question (RFC 1035 section 4.1.4)
NO_SUCH_RECORD = b"\x00\x00" + struct.pack("!5I", 1, 3600, 600, DAY, DAY)


def answer(question: bytes, txt: dict[str, bytes]) -> bytes:
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length])
        at += 1 + length
    (kind,) = struct.unpack_from("!H", question, at + 1)
    data = record(b".".join(labels).decode().lower(), kind, txt)
    if data is None:  # the name is there, such a record is not: an SOA says for how long (RFC 2308 section 2.2)
        kind, data, counts = SOA, NO_SUCH_RECORD, (1, 0, 1, 0)
    else:
        counts = (1, 1, 0, 0)
    head = question[:2] + b"\x85\x80" + struct.pack("!4H", *counts)
    return head + question[12 : at + 5] + SAME_NAME + struct.pack("!HHIH", kind, 1, DAY, len(data)) + data


def record(name: str, kind: int, txt: dict[str, bytes]) -> bytes | None:
    if kind == A:
        return bytes((192, 0, 2, 25))
    if kind == MX:
        return b"\x00\x0a\x02mx" + SAME_NAME
    if kind == TXT and (text := txt.get(name)):
        return b"".join(bytes([len(part)]) + part for part in (text[i : i + 255] for i in range(0, len(text), 255)))
    return None


def main() -> None:
    txt = {name.lower(): text.encode() for name, text in json.loads(sys.argv[1])["txt"].items()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        print(sock.getsockname()[1], flush=True)
        while True:
            ready, _, _ = select.select([sock, sys.stdin], [], [])
            if sys.stdin in ready:  # its end is the end of whoever started us
                return
            question, address = sock.recvfrom(4096)
            sock.sendto(answer(question, txt), address)


if __name__ == "__main__":
    main()
