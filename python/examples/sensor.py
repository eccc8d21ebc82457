"""Events: `sensor.py report ROOM CELSIUS…` publishes readings and keeps the last; `sensor.py watch` prints them, the kept ones first."""

import sys

import ipcd


def report(room: str, *readings: str) -> None:
    with ipcd.Client() as client:
        for celsius in readings:
            client.publish(f"home.{room}.temperature", {"celsius": float(celsius)}, retain=True)


def watch() -> None:
    with ipcd.Client() as client, client.subscribe("home.*.temperature", last=True) as notices:
        for notice in notices:
            if isinstance(notice, ipcd.Event):
                print(notice.topic, notice.value["celsius"], flush=True)
            elif isinstance(notice, ipcd.Gap):
                print(notice.lost, "readings were lost: this program was too slow", flush=True)
            else:
                print("the broker was away", flush=True)


if sys.argv[1:2] == ["report"]:
    report(*sys.argv[2:])
else:
    watch()
