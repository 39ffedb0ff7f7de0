from __future__ import annotations

import os
from pathlib import Path

import click

from launcher.errors import UsageError

LINES = {
    "bash": ('eval "$(_LAUNCH_COMPLETE=bash_source launch)"', "~/.bashrc"),
    "zsh": ('eval "$(_LAUNCH_COMPLETE=zsh_source launch)"', "~/.zshrc"),
    "fish": ("_LAUNCH_COMPLETE=fish_source launch | source", "~/.config/fish/completions/launch.fish"),
}


@click.command("completion")
@click.argument("shell", required=False, metavar="[bash|zsh|fish]")
def command(shell: str | None) -> None:
    """The line that completes commands, options, runs and fields in your shell.

    \b
    launch completion
    launch completion zsh >> ~/.zshrc
    """
    name = shell or Path(os.environ.get("SHELL", "bash")).name
    if name not in LINES:
        raise UsageError(f"no completion for '{name}': there is bash, zsh and fish (bash 4.4 or newer)")
    line, file = LINES[name]
    print(f"# put this line into {file}")
    print(line)
