"""`calc`, as client-lib/examples/calc_service.rs has it: an error of its own, with a code and a value, and one that isn't meant."""

import math
import signal

import ipcd

service = ipcd.Service("calc", threads=2, window=64)


@service.method
def add(a: int, b: int) -> int:
    return fits(a + b)


@service.method
def div(a: int, b: int, call: ipcd.Call) -> int:
    if b == 0:
        print(f"uid {call.caller.uid} divides by zero", flush=True)
        raise ipcd.AppError("division by zero", app_code=2, value="DivisionByZero")
    return fits(int(a / b))


@service.method
def factorial(of: int) -> int:
    product = math.factorial(of)
    if product >= 1 << 64:
        raise OverflowError("a factorial fits 64 bits")
    return product


def fits(number: int) -> int:
    if not -(1 << 63) <= number < 1 << 63:
        raise ipcd.AppError("the result does not fit 64 bits", app_code=3, value="Overflow")
    return number


signal.signal(signal.SIGTERM, lambda *_: service.stop())
service.run()
