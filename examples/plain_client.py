#!/usr/bin/env python3
"""A writer without the library: a Unix socket, and each packet is a message.

    plain_client.py NAME TEXT...

`mailroom path NAME` tells where the slot's socket is. An empty TEXT is an empty message."""

import socket
import subprocess
import sys

name, *texts = sys.argv[1:]
path = subprocess.run(["mailroom", "path", name], check=True, capture_output=True, text=True).stdout.rstrip("\n")
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as slot:
    slot.connect(path)
    for text in texts:
        slot.send(text.encode())
