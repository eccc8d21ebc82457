#!/bin/sh
# The names on offer, with nothing but a tool that connects standard input and output to a socket.
question='{"jsonrpc":"2.0","id":1,"method":"ipc.list"}'
if command -v socat >/dev/null; then
    printf %s "$question" | socat -t1 - "UNIX-CONNECT:$IPCD_SOCKET"
elif command -v nc >/dev/null; then
    printf %s "$question" | nc -N -U "$IPCD_SOCKET"
else
    printf %s "$question" | ipcctl rpc # finds the broker by itself
fi
