#!/bin/bash
# Prints the whole answer. `ipcctl rpc` does what socat does here, and finds the broker by itself.
connect() { if command -v socat >/dev/null; then socat -t 30 - "UNIX-CONNECT:$IPCD_SOCKET"; else ipcctl rpc; fi; }
printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}' "$1" "$2" | connect
