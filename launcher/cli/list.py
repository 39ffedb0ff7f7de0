from __future__ import annotations

import click

from launcher.cli import options


@click.command("list")
@options.runs_option
@options.json_option
def command(runs: str | None, as_json: bool) -> None:
    """All runs, the newest first.

    \b
    launch list
    launch list --json
    """
    from launcher.cli.terminal import ago, print_json, table
    from launcher.runs import all_runs, last_news, runs_folder, status
    from launcher.standing import Look

    folder = runs_folder(runs)
    found = all_runs(folder)[::-1]
    look = Look(found)
    told = [(status(run, look), last_news(run)) for run in found]  # run by run: each ledger is read once
    data = [row for row, _ in told]
    if as_json:
        print_json(data)
        return
    if not data:
        print(f"there are no runs in {folder} yet. Start one with 'launch SPEC'")
        return
    keys = ("id", "state", "step", "attempts", "ettr")
    rows = [["" if row[key] is None else str(row[key]) for key in keys] for row in data]
    news = [ago(time) if time else "" for _, time in told]
    heads = [*map(str.upper, keys), "LAST NEWS"]
    print("\n".join(table([heads, *([*row, heard] for row, heard in zip(rows, news, strict=True))])))
