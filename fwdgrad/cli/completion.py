"""``fwdgrad completion``: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["SHELLS", "add", "completion"]

COMPLETION = """\
Print what a shell needs to complete commands, options, and the names of systems:

  bash   eval "$(fwdgrad completion bash)"          in ~/.bashrc
  zsh    eval "$(fwdgrad completion zsh)"           in ~/.zshrc, behind compinit
  fish   fwdgrad completion fish | source           in ~/.config/fish/config.fish
"""

BASH = """\
_fwdgrad() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $before" in
{values}
        esac
        if [ -z "$words" ]; then
            case "${{COMP_WORDS[1]}} $current" in
{options}
{systems}
            esac
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _fwdgrad fwdgrad
"""


def add(commands: Any, debug: argparse.ArgumentParser) -> None:
    """The command's options."""
    command = commands.add_parser(
        "completion",
        parents=[debug],
        help="what bash, zsh and fish need to complete words",
        description=COMPLETION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("shell", choices=SHELLS)


def completion(shell: str, grammar: argparse.ArgumentParser, systems: list[str]) -> str:
    """The text for a shell, from the parser of all commands.

    Args:
        shell: "bash", "zsh" or "fish".
        grammar: the parser.
        systems: names of the catalogue, for commands that take one.
    """
    return SHELLS[shell](_commands(grammar), systems)


def _commands(grammar: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in grammar._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def _options(command: argparse.ArgumentParser) -> list[tuple[str, str, list[str]]]:
    """(option, what it does, its values) of a command."""
    made = []
    for action in command._actions:
        names = [name for name in action.option_strings if name.startswith("--")]
        values = [str(choice) for choice in action.choices or ()]
        if names:
            made.append((names[0], " ".join((action.help or "").replace("%%", "%").split()), values))
    return made


def _takes_system(command: argparse.ArgumentParser) -> bool:
    return any(action.dest == "system" and not action.option_strings for action in command._actions)


def _bash(commands: dict[str, argparse.ArgumentParser], systems: list[str]) -> str:
    values, options, names = [], [], []
    for name, command in commands.items():
        every = _options(command)
        values += [f'            "{name} {o}") words="{" ".join(v)}" ;;' for o, _, v in every if v]
        options.append(f'                "{name} -"*) words="{" ".join(o for o, _, _ in every)}" ;;')
        if _takes_system(command):
            names.append(f'                "{name} "*) words="{" ".join(systems)}" ;;')
    return BASH.format(
        commands=" ".join(commands), values="\n".join(values), options="\n".join(options), systems="\n".join(names)
    )


def _zsh(commands: dict[str, argparse.ArgumentParser], systems: list[str]) -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash(commands, systems)}"


def _fish(commands: dict[str, argparse.ArgumentParser], systems: list[str]) -> str:
    lines = [f"complete -c fwdgrad -n __fish_use_subcommand -a {name}" for name in commands]
    for name, command in commands.items():
        inside = f"complete -c fwdgrad -n '__fish_seen_subcommand_from {name}'"
        for option, told, values in _options(command):
            quoted = told.replace("\\", "\\\\").replace("'", "\\'")
            lines.append(f"{inside} -l {option[2:]} -d '{quoted}'" + (f" -x -a '{' '.join(values)}'" if values else ""))
        if _takes_system(command):
            lines.append(f"{inside} -a '{' '.join(systems)}'")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""What makes the text for each shell."""
