import ipcd

with ipcd.Client() as client:
    print(client.call("calc.add", {"a": 1, "b": 2}))
