"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random


class Backoff:
    """50 ms, doubled up to 2 s. Each step is cut by up to half at random, so that the services of a broker that died don't all come
    back in the same instant."""

    FIRST = 0.05
    LONGEST = 2.0

    def __init__(self) -> None:
        self._step = self.FIRST

    def pause(self) -> float:
        """Seconds to wait now."""
        step, self._step = self._step, min(self._step * 2, self.LONGEST)
        return step * (1 - random.random() / 2)
