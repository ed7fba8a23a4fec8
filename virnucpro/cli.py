"""The command line, `virnucpro COMMAND ...`."""

import logging
import sys

import click

from virnucpro import __version__, stages
from virnucpro.embedding.command import embed_proteins
from virnucpro.run.command import run

SECTIONS = {
    "Commands": [run, stages.train, embed_proteins],
    "Stages of a run, in the order in which the workflow calls them": [
        stages.prepare,
        stages.fetch_model,
        stages.token_budget,
        stages.pack,
        stages.embed,
        stages.merge,
        stages.call,
        stages.summary,
    ],
    "Before a training": [stages.fragment],
}


class Commands(click.Group):
    """The commands, in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        for title, members in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(member.name), _first_sentence(member)) for member in members])


def _first_sentence(command: click.Command) -> str:
    return " ".join(str(command.help).partition("\n\n")[0].split()).rstrip(".")


@click.group(
    cls=Commands,
    commands=[command for members in SECTIONS.values() for command in members],
    context_settings={"max_content_width": 100},
    epilog="virnucpro COMMAND --help says what a command reads and writes.",
)
@click.version_option(__version__, message="virnucpro %(version)s")
def main() -> None:
    """Find viruses in metagenomic contigs with protein language models."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.addLevelName(logging.INFO, "virnucpro")
    logging.addLevelName(logging.WARNING, "virnucpro: warning")
