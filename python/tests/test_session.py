"""The session without a socket: whatever bytes come, each call ends once, and nothing is raised."""

from __future__ import annotations

import random
import unittest
from typing import List

import ipcd
import page
from ipcd import frame as wire
from ipcd.body import Body
from ipcd.error import BrokerLost
from ipcd.frame import Decoder, Frame
from ipcd.pending import Pending
from ipcd.session import Session
from support import welcome

CALLER = bytes(32)
CALC = {wire.SERVICE: b"calc"}


def connected(calls: int = 0) -> Session:
    session = Session("test", calls)
    session.receive(welcome().encode(), 0.0)
    session.wrote(len(session.out))
    return session


def said(session: Session) -> List[Frame]:
    """What the session has to say since the last time."""
    frames = Decoder().feed(bytes(session.out))
    session.wrote(len(session.out))
    return frames


class Calls(unittest.TestCase):
    def test_a_call_ends_once(self) -> None:
        session = connected()
        ends: List[Pending] = []
        pending = session.call(CALC, Body())
        pending.watchers.append(lambda: ends.append(pending))
        for data in (b"first", b"second"):
            session.receive(Frame(wire.REPLY, pending.id, data=data).encode(), 0.0)
        session.receive(Frame(wire.ERROR, pending.id, code=8).encode(), 0.0)
        session.lose(BrokerLost("gone"))
        self.assertEqual((ends, pending.result()), ([pending], Body(b"first")))

    def test_numbers_grow_over_calls_events_and_operations(self) -> None:
        session = connected()
        session.call(CALC, Body())
        session.announce({wire.TOPIC: b"home"}, Body(), 0)
        session.ask("unlock", b"{}")
        session.call(CALC, Body(), flags=wire.ONE_WAY)
        numbers = [frame.id for frame in said(session) if frame.kind in (wire.CALL, wire.EVENT)]
        self.assertEqual(numbers, [1, 2, 3, 4])

    def test_what_never_left_has_not_run(self) -> None:
        session = connected()
        before = session.call(CALC, Body()).leaves_at
        session.wrote(len(session.out))
        left, partly, never = [session.call(CALC, Body(b"body")) for _ in range(3)]
        session.wrote(left.leaves_at - before + 5)
        session.lose(BrokerLost("gone"))
        retries = [one.outcome.retry for one in (left, partly, never) if isinstance(one.outcome, ipcd.Error)]
        self.assertEqual(retries, ["unknown", "safe", "safe"])

    def test_an_abandoned_subscription_is_ended_when_its_number_comes(self) -> None:
        session = connected()
        pending = session.call({wire.SERVICE: b"ipc"}, Body(), keep=("drop-oldest", 10))
        session.cancel(pending)
        said(session)
        session.receive(Frame(wire.REPLY, pending.id, data=b'{"subscription":7}').encode(), 0.0)
        (frame,) = said(session)
        self.assertEqual((frame.text(wire.METHOD), frame.data), ("unsubscribe", b'{"subscription":7}'))

    def test_a_lock_that_is_given_up_is_given_back_behind_the_cancel(self) -> None:
        session = connected()
        pending = session.call({wire.SERVICE: b"ipc"}, Body(), undo=("unlock", b'{"name":"a"}'))
        said(session)
        session.cancel(pending)
        self.assertEqual([frame.kind for frame in said(session)], [wire.CANCEL, wire.CALL])

    def test_a_ping_is_answered_and_the_time_of_a_call_is_counted_from_its_arrival(self) -> None:
        session = connected(calls=1)
        call = Frame(wire.CALL, 5, time_ms=1500, fields={wire.CALLER: CALLER, wire.SERVICE: b"calc"})
        session.receive(Frame(wire.PING, 9).encode() + call.encode(), 100.0)
        self.assertEqual(said(session), [Frame(wire.PONG, 9)])
        self.assertEqual(session.inbound[0].deadline, 101.5)


class Noise(unittest.TestCase):
    def mutated(self, dice: random.Random) -> bytes:
        """Frames of the page, some of them damaged."""
        data = b""
        for frame in dice.choices(list(page.frames().values()), k=dice.randrange(1, 8)):
            damaged = bytearray(frame)
            for _ in range(dice.choice((0, 0, 1, 3))):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            data += bytes(damaged[: dice.choice((len(damaged), len(damaged), dice.randrange(len(damaged))))])
        return data

    def test_whatever_comes_each_call_ends_once_and_nothing_is_raised(self) -> None:
        ended = 0
        for seed in range(1000):
            dice = random.Random(seed)
            session = connected(calls=4)
            streamed = session.call(CALC, Body(), flags=wire.REQUEST_STREAM | wire.REPLY_STREAM)
            pending = [session.call(CALC, Body(), flags=dice.choice((0, wire.ONE_WAY))) for _ in range(6)]
            pending += [streamed, session.call(CALC, Body(), keep=("latest", 3)), session.ping()]
            counts = [0] * len(pending)
            for at, one in enumerate(pending):
                one.watchers.append(lambda at=at: counts.__setitem__(at, counts[at] + 1))  # type: ignore[misc]
            data = self.mutated(dice)
            while data:
                length = dice.randrange(1, len(data) + 1)
                session.receive(data[:length], 0.0)
                data = data[length:]
            ended += session.ended is not None
            session.lose(BrokerLost("the end"))
            with self.subTest(seed=seed):
                self.assertEqual(counts, [1] * len(pending))
        self.assertGreater(ended, 200)

    def test_frames_are_the_same_however_they_are_cut(self) -> None:
        for seed in range(300):
            dice = random.Random(seed)
            data = self.mutated(dice)
            whole, cut = Decoder(), Decoder()
            expected, frames = whole.feed(data), []
            while data:
                length = dice.randrange(1, len(data) + 1)
                frames += cut.feed(data[:length])
                data = data[length:]
            with self.subTest(seed=seed):
                self.assertEqual(frames, expected)
                self.assertEqual(str(cut.violation), str(whole.violation))


if __name__ == "__main__":
    unittest.main()
