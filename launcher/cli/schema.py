from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """The JSON Schema of job files. Editors with yaml-language-server complete and check by it:

    \b
    launch schema > jobs/schema.json
    and as the first line of a job file:
    # yaml-language-server: $schema=schema.json
    """
    from launcher.cli.terminal import print_json
    from launcher.spec.schema import json_schema

    print_json(json_schema())
