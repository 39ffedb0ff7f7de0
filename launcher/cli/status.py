from __future__ import annotations

import click

from launcher.cli import options


@click.command("status")
@options.one_run(default="last")
@options.runs_option
@options.json_option
def command(run: str, runs: str | None, as_json: bool) -> None:
    """How a run stands: the newest one, or the one that is named.

    \b
    launch status
    launch status resnet-digits --json
    """
    from datetime import datetime

    from launcher.cli.ending import facts, kept
    from launcher.cli.root_cause import root_cause
    from launcher.cli.terminal import labelled, moment, print_json
    from launcher.rundir import read_json
    from launcher.runs import find_run, last_news, runs_folder, status
    from launcher.standing import standing

    found = find_run(run, runs_folder(runs))
    data = status(found)
    if as_json:
        print_json(data)
        return
    if data["state"] == "failed" and (failure := read_json(found.failure)):
        print(root_cause(found, failure, data["reason"]))
        data["reason"] = None  # told above
    shown = ("id", "name", "state", "reason", "step", "attempts", "backend", "job", "ettr", "began")
    if data["ettr"] is not None:
        data["ettr"] = kept(data["ettr"], data["time_lost"])
    if data["began"] is not None:
        data["began"] = moment(datetime.fromisoformat(data["began"]))
    data["attempts"] = data["attempts"] or None  # a sweep's trials have them
    rows = [(key, str(data[key])) for key in shown if data[key] is not None]
    total = ((read_json(found.plan) or {}).get("batch") or {}).get("steps")
    rows = [(key, f"{text} of {total}" if key == "step" and total else text) for key, text in rows]
    rows += [("last news", moment(news))] if (news := last_news(found)) else []
    rows += [row for row in facts(found, standing(found)) if row[0] != "steps"]
    print("\n".join(labelled(rows)))
