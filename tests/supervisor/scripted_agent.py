"""An agent that behaves: it speaks the protocol over its streams, and its ranks end as a scenario says.

The scenario (a JSON file) maps an attempt to what happens in it: {"1": {"exits": [[0.05, RANK, CODE]], "die": 0.1, "mute": 0.1}}.
Attempt 0 is what happens before any start. A word for a time is a file beside the scenario: due once that is there.
With "lingers" its stream ends then (`closed` is there), and the process a second later; other ranks are not gone before that end.
`unswept` nodes never say that nothing is left.
The node `stillborn` ends before its first word, the first time.
Of an attempt with a "step", all ranks tell it, or the `teller` alone. In "asks" a rank of that node asks should_stop(); where
there is one, ranks save on a stop that says so, and SIGTERM ends them otherwise.
`unkillable` nodes do not end their ranks; with "deaf" they do not hear a stop, with "slow" they take so many seconds over it.
The node `dies_of_stop` ends itself at one.
Ranks without an exit in the scenario run until they are told to stop (then they end with `saved`, 75) or are killed.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path


class Scripted:
    def __init__(self, number: int, scenario: dict, folder: Path) -> None:
        self.number, self.scenario, self.folder = number, scenario, folder
        self.attempt, self.living, self.due, self.mute = 0, {}, [], False

    @property
    def script(self) -> dict:
        return self.scenario.get(str(self.attempt), {})

    def say(self, **message: object) -> None:
        if self.mute:
            return
        try:
            os.write(1, json.dumps({"agent": self.number, **message}).encode() + b"\n")
        except BrokenPipeError:  # it is over: a traceback would stand among the agents' last words
            os._exit(0)

    def end(self, rank: int, code: int, *, killed: bool = False) -> None:
        if self.living.pop(rank, None) is not None:
            step = self.script.get("step") if self.script.get("teller", rank) == rank else None
            self.say(
                kind="exited",
                attempt=self.attempt,
                rank=rank,
                local_rank=0,
                code=code,
                step=step,
                pulses=step or 0,
                killed=killed,
            )
            if not self.living and self.number not in self.scenario.get("unswept", []):
                self.say(kind="swept", attempt=self.attempt)

    def hear(self, message: dict) -> None:
        if self.number not in message["to"]:
            return
        match message["kind"]:
            case "ping":
                self.say(kind="pong")
            case "store":
                self.say(kind="store", attempt=message["attempt"], host="127.0.0.1", port=1)
            case "start":
                self.start(message)
            case "stop" if self.scenario.get("dies_of_stop") == self.number:
                os._exit(1)
            case "stop" if not self.scenario.get("deaf"):
                time.sleep(self.scenario.get("slow", 0))
                told = "asks" not in self.scenario or message.get("follow")
                for rank in list(self.living):
                    self.end(rank, self.scenario.get("saved", 75) if told else -15)
            case "kill":
                self.attempt = self.attempt or message["attempt"]
                if self.number in self.script.get("unkillable", []):
                    return
                awaited = "lingers" in self.script and self.script["node"] != self.number
                while awaited and not (self.folder / "closed").exists():
                    time.sleep(0.005)
                for rank in list(self.living):
                    self.end(rank, -9, killed=True)
                self.say(kind="swept", attempt=message["attempt"])

    def start(self, message: dict) -> None:
        self.attempt = message["attempt"]
        first, count = message["base_ranks"][message["to"].index(self.number)], message["local_world_size"]
        self.living = dict.fromkeys(range(first, first + count), True)
        self.say(kind="started", attempt=self.attempt, pids=[])
        if self.scenario.get("asks") == self.number:
            self.say(kind="step", attempt=self.attempt, step=-1, pulses=0, asks=True)
        self.plan()

    def plan(self) -> None:
        """From now on."""
        script, now = self.script, time.monotonic()
        happens = [(when, rank, code) for when, rank, code in script.get("exits", []) if rank in self.living]
        mine = script.get("node", self.number) == self.number
        happens += [(script[what], what, 0) for what in ("die", "mute", "lingers") if what in script and mine]
        self.due = [(when if isinstance(when, str) else now + when, what, code) for when, what, code in happens]

    def is_due(self, when: float | str) -> bool:
        return (self.folder / when).exists() if isinstance(when, str) else when <= time.monotonic()

    def happen(self) -> None:
        for moment in [each for each in self.due if self.is_due(each[0])]:
            self.due.remove(moment)
            _, what, code = moment
            if what == "die":
                os._exit(1)
            if what == "lingers":
                signal.signal(signal.SIGQUIT, signal.SIG_IGN)
                os.close(1)
                (self.folder / "closed").touch()
                time.sleep(1)
                os._exit(1)
            if what == "mute":
                self.mute = True
            else:
                self.end(what, code)


def main() -> None:
    scenario = Path(sys.argv[2])
    agent = Scripted(int(sys.argv[1]), json.loads(scenario.read_text()), scenario.parent)
    if agent.number == agent.scenario.get("stillborn") and not (born := agent.folder / "born").exists():
        born.touch()
        sys.exit("no module named launcher")
    agent.say(kind="hello", host="here", pid=os.getpid(), cpus=1)
    agent.plan()
    pending = b""
    while True:
        if select.select([0], [], [], 0.005)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                agent.hear(json.loads(line))
        agent.happen()


main()
