from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from launcher.cli import options
from launcher.errors import SpecError


@click.command("validate")
@click.argument("spec", nargs=-1, required=True, metavar="SPEC...")
@options.set_option
@options.json_option
def command(spec: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check job files: every error at once, each with its line. Exit code 2 where there is one.

    \b
    launch validate jobs/*.yaml
    launch validate jobs/resnet.yaml --set train.epochs=3
    """
    results = [checked(file, overrides) for file in spec]
    if as_json:
        from launcher.cli.terminal import print_json

        print_json(results if len(results) > 1 else results[0])
    else:
        for result in results:
            told(result)
    return 0 if all(result["valid"] for result in results) else SpecError.exit_code


def checked(file: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    from launcher.load import load_job

    try:
        job = load_job(file, overrides=overrides)
    except SpecError as error:
        problems = [{**asdict(problem), "text": str(problem)} for problem in error.problems]
        return {"spec": file, "valid": False, "problems": problems}
    what = f"trains {job.train.model.target}" if job.train else "runs a program of its own"
    return {"spec": file, "valid": True, "problems": [], "name": job.name, "what": what}


def told(result: dict[str, Any]) -> None:
    if result["valid"]:
        print(f"{result['spec']}: valid ({result['name']}, {result['what']})")
    else:
        print("\n".join(problem["text"] for problem in result["problems"]), file=sys.stderr)
