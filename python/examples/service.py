import ipcd

service = ipcd.Service("calc")


@service.method
def add(a: int, b: int) -> int:
    return a + b


service.run()
