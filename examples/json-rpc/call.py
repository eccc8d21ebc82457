import json, os, socket, sys
broker = socket.socket(socket.AF_UNIX)
broker.connect(os.environ["IPCD_SOCKET"])
call = {"jsonrpc": "2.0", "id": 1, "method": sys.argv[1], "params": json.loads(sys.argv[2])}
broker.sendall(json.dumps(call).encode())
answer = json.loads(broker.makefile().readline())
print(json.dumps(answer["result"]) if "result" in answer else sys.exit(answer["error"]["message"]))
