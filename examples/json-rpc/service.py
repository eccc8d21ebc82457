import json, os, socket
broker = socket.socket(socket.AF_UNIX)
broker.connect(os.environ["IPCD_SOCKET"])
def send(**message):
    broker.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode())
def add(a, b):
    return a + b
send(id=1, method="ipc.register", params={"name": "adder", "methods": ["add"]})
for line in broker.makefile():
    message = json.loads(line)
    if message.get("method") == "$/call":
        call = message["params"]
        args = call.get("params")
        try:
            if call["method"] != "add":
                send(id=message["id"], error={"code": -32601, "message": "only add"})
            else:
                send(id=message["id"], result=add(*args) if isinstance(args, list) else add(**args))
        except TypeError as error:
            send(id=message["id"], error={"code": -32602, "message": str(error)})
