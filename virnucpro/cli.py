"""The command line, `virnucpro COMMAND ...`."""

import json
import logging
import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from virnucpro import __version__, stages
from virnucpro.run.command import run

SECTIONS = {
    "Commands": [run, stages.train, stages.embed_proteins],
    "Stages of a run, in the order in which the workflow calls them": [
        stages.prepare,
        stages.fetch_model,
        stages.token_budget,
        stages.pack,
        stages.embed,
        stages.merge,
        stages.references,
        stages.call,
        stages.summary,
        stages.report,
    ],
    "For a training": [stages.fragment, stages.train_names],
    "Coming from the original VirNucPro": [stages.import_classifier, stages.check_virnucpro],
}


class Commands(click.Group):
    """The commands, in sections."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run one command, or several joined by the word `then`, in one process.

        A single argument @FILE stands for the words in the file, a JSON list: Linux limits the words of a shell.
        """
        words = sys.argv[1:] if args is None else list(args)
        if len(words) == 1 and words[0].startswith("@") and Path(words[0][1:]).is_file():
            words = list(map(str, json.loads(Path(words[0][1:]).read_bytes())))
        first, following = _split(words)
        while following:
            try:
                super().main(first, *rest, **options)
            except SystemExit as end:
                if end.code:
                    raise
            first, following = _split(following)
        return super().main(first, *rest, **options)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is typed; of a file alone, say how to run it."""
        if args and args[0] not in self.commands and os.path.exists(args[0]):  # noqa: PTH110 (a Path fails on long names)
            ctx.fail(f"{args[0]} is a file; type virnucpro run {shlex.quote(args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        for title, members in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(member.name), _first_sentence(member)) for member in members])


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Split words into the first command and the rest after `then`, if the name of a command follows it."""
    names = {command.name for members in SECTIONS.values() for command in members}
    for place, (word, following) in enumerate(pairwise(words)):
        if word == "then" and following in names:
            return words[:place], words[place + 1 :]
    return words, []


def _first_sentence(command: click.Command) -> str:
    return " ".join(str(command.help).partition("\n\n")[0].split()).rstrip(".")


def _settle_environment() -> None:
    """Set the variables of the environment that libraries read, unless they are set."""
    # Threads that wait for others sleep: on a busy machine, spinning ones double time and CPU time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Files are written under temporary names, and some file systems have no locks.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:  # or a file takes the place of a closed stderr
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout, sys.stderr = (stream or Path(os.devnull).open("w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    try:
        Path.cwd()
    except FileNotFoundError:
        sys.exit("virnucpro: error: the working folder was deleted; change to another one")
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:  # a container runs as a user that it does not know
        os.environ.setdefault("USER", str(os.getuid()))
        if not os.access(os.environ.get("HOME", ""), os.W_OK):
            os.environ["HOME"] = str(Path.cwd())


@click.group(
    cls=Commands,
    commands=[command for members in SECTIONS.values() for command in members],
    context_settings={"max_content_width": 100},
    epilog="virnucpro COMMAND --help says what a command reads and writes. "
    "The word then between two runs one after the other: virnucpro prepare ... then pack ...",
)
@click.version_option(__version__, message="virnucpro %(version)s")
def main() -> None:
    """Find viruses in metagenomic contigs with protein language models."""
    _settle_environment()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.addLevelName(logging.INFO, "virnucpro")
    logging.addLevelName(logging.WARNING, "virnucpro: warning")
