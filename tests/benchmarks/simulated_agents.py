"""Many agents in one process, behind one carrier, as srun has them: python simulated_agents.py FIRST LAST LOST LOST_AFTER_S RUN_S

The agent LOST falls silent LOST_AFTER_S into the first attempt. Ranks of any other attempt end well after RUN_S.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

READ_BYTES = 1 << 20


class Simulated:
    def __init__(self, first: int, last: int, lost: int, lost_after_s: float, run_s: float) -> None:
        self.first, self.last, self.lost, self.lost_after_s, self.run_s = first, last, lost, lost_after_s, run_s
        self.ranks: dict[int, tuple[int, int]] = {}
        """Agent -> its rank and attempt."""
        self.mute_at = self.end_at = float("inf")
        self.out = bytearray()

    def say(self, agent: int, **message: object) -> None:
        if agent != self.lost or time.monotonic() < self.mute_at:
            self.out += json.dumps({"agent": agent, **message}).encode() + b"\n"

    def greet(self) -> None:
        for agent in range(self.first, self.last):
            self.say(agent, kind="hello", host=f"n{agent}", pid=1, cpus=1)

    def hear(self, message: dict) -> None:
        for place, agent in enumerate(message["to"]):
            match message["kind"]:
                case "ping":
                    self.say(agent, kind="pong")
                case "store":
                    self.say(agent, kind="store", attempt=message["attempt"], host="127.0.0.1", port=1)
                case "start":
                    self.start(agent, message["base_ranks"][place], message["attempt"])
                case "kill":
                    self.end(agent, -9, killed=True)
                    self.say(agent, kind="swept", attempt=message["attempt"])

    def start(self, agent: int, rank: int, attempt: int) -> None:
        self.ranks[agent] = rank, attempt
        self.say(agent, kind="started", attempt=attempt, pids=[1])
        self.say(agent, kind="step", attempt=attempt, rank=rank, step=1, pulses=1)
        if attempt == 1:
            self.mute_at = min(self.mute_at, time.monotonic() + self.lost_after_s) if agent == self.lost else self.mute_at
        else:
            self.end_at = time.monotonic() + self.run_s

    def end(self, agent: int, code: int, *, killed: bool) -> None:
        if agent in self.ranks:
            rank, attempt = self.ranks.pop(agent)
            self.say(agent, kind="exited", attempt=attempt, rank=rank, local_rank=0, code=code, step=1, pulses=1, killed=killed)

    def end_well(self) -> None:
        for agent, (_, attempt) in list(self.ranks.items()):
            self.end(agent, 0, killed=False)
            self.say(agent, kind="swept", attempt=attempt)
        self.end_at = float("inf")


def main() -> None:
    agents = Simulated(*map(int, sys.argv[1:4]), *map(float, sys.argv[4:6]))
    agents.greet()
    os.set_blocking(1, False)
    pending = b""
    while True:
        readable, writable, _ = select.select([0], [1] if agents.out else [], [], 0.05)
        if writable:
            del agents.out[: os.write(1, agents.out)]
        if readable:
            data = os.read(0, READ_BYTES)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                agents.hear(json.loads(line))
        if time.monotonic() > agents.end_at:
            agents.end_well()


main()
