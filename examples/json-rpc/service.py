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
        if call["method"] != "add":
            send(id=message["id"], error={"code": -32601, "message": "only add"})
        elif isinstance(call["params"], list):
            send(id=message["id"], result=add(*call["params"]))
        else:
            send(id=message["id"], result=add(**call["params"]))
