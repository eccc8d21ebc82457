"""A client of `calc`: a call, an error of the service, many calls at once, and a failure in the service."""

import ipcd

with ipcd.Client() as client:
    print("1 + 2 =", client.call("calc.add", {"a": 1, "b": 2}))
    try:
        print("1 / 0 =", client.call("calc.div", {"a": 1, "b": 0}))
    except ipcd.AppError as error:
        print(f"1 / 0: the service says {error.value} with code {error.app_code}")
    sums = [client.start("calc.add", {"a": n, "b": n}) for n in range(64)]
    print("64 sums, together", sum(one.wait() for one in sums))
    try:
        print("100! =", client.call("calc.factorial", {"of": 100}))
    except ipcd.Internal as error:
        print("100!:", error.name, error.retry)
