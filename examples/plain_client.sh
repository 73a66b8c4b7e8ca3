#!/bin/sh
# A writer without the library, with socat: what comes on standard input is one message to the slot NAME (up to
# 8,192 bytes, socat's block; -b makes it larger).
#
#     echo "door open" | plain_client.sh NAME
path=$(mailroom path "${1:?which slot? plain_client.sh NAME}") || exit
exec socat -u - "UNIX-CONNECT:$path,type=5" # 5 is SOCK_SEQPACKET
