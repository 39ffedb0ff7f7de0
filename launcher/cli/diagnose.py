from __future__ import annotations

import click

from launcher.cli import options
from launcher.diagnosis.verdict import Verdict


@click.command("diagnose")
@options.one_run(default="last")
@options.runs_option
@options.json_option
def command(run: str, runs: str | None, as_json: bool) -> None:
    """What is wrong with a run, in words: the evidence, the field of the job to change, and to what.

    \b
    launch diagnose
    launch diagnose resnet-digits --json
    """
    from launcher.cli.terminal import print_json
    from launcher.diagnosis import diagnose, records_of
    from launcher.runs import find_run, runs_folder

    found = find_run(run, runs_folder(runs))
    records = records_of(found)
    verdicts = diagnose(records.rows, records.timings, records.entries)
    if as_json:
        print_json([verdict.as_json() for verdict in verdicts])
    elif verdicts:
        print("\n\n".join(told(verdict) for verdict in verdicts))
    else:
        print(healthy(found.id, rows=len(records.rows)))


def told(verdict: Verdict) -> str:
    lines = [f"{verdict.name}: {verdict.words}", *(f"  evidence  {each}" for each in verdict.evidence)]
    return "\n".join([*lines, f"  change    {verdict.field}: {verdict.to}", f"  or        {verdict.also}"])


def healthy(run_id: str, *, rows: int) -> str:
    if not rows:
        return f"{run_id} has logged no row yet: there is nothing to judge by"
    return f"nothing is wrong with {run_id} by its {rows} rows. With log.gradients set, the gradients are looked at as well"
