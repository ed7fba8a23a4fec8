"""The command `virnucpro run`."""

import textwrap
from typing import Any

import click

from virnucpro.command import FILE, POSITIVE, Command
from virnucpro.config import DEFAULTS, PROPERTIES

NATURAL = click.IntRange(min=0)
SETTINGS = [key for key in PROPERTIES if key not in ("samples", "outdir")]  # these two have options of their own

EXAMPLES = """\b
examples:
virnucpro run assembly.fna.gz
virnucpro run 'assemblies/*.fna.gz' --outdir phages --gpus 4
virnucpro run --samples table.tsv --no-call --model esm2_t36_3B_UR50D --slurm
"""


class RunCommand(Command):
    """A command with an option for every key of the configuration; what follows `--` goes to Snakemake."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set aside what Snakemake gets."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta["snakemake"] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; those of the configuration as one paragraph, with their defaults."""
        super().format_options(ctx, formatter)
        with formatter.section("Settings, with their defaults (config/README.md explains them)"):
            text = " ".join(_spell(key, DEFAULTS[key]) for key in SETTINGS if key in DEFAULTS)
            lines = textwrap.wrap(text, formatter.width - formatter.current_indent, break_on_hyphens=False)
            formatter.write_text("\n".join(["\b", *lines]))


def _spell(key: str, value: Any) -> str:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {','.join(map(str, value)) if isinstance(value, list) else value}"


@click.command("run", RunCommand, epilog=EXAMPLES, context_settings={"max_content_width": 100})
@click.argument("fasta", nargs=-1)
@click.option("--outdir", metavar="DIR", help="folder for the results  [default: results]")
@click.option("--type", "kind", type=click.Choice(["contigs", "proteins"]), default="contigs", help="what FASTA holds")
@click.option("--samples", metavar="TABLE", help="in place of FASTA: columns sample, fasta, type")
@click.option("--configfile", type=FILE, metavar="FILE", help="settings, as YAML")
@click.option("--config", multiple=True, metavar="KEY=VALUE", help="a setting, as --KEY VALUE is")
@click.option("--cores", type=POSITIVE, metavar="N", help="CPU cores  [default: all]")
@click.option("--gpus", type=NATURAL, metavar="N", help="GPUs; 0 embeds on the CPU  [default: all that are visible]")
@click.option("--slurm", is_flag=False, flag_value="", metavar="[PARTITION]", help="run the jobs on a SLURM cluster")
@click.option("--workflow-profile", type=FILE, metavar="DIR", help="run them as a profile of Snakemake says")
@click.option("--force", is_flag=True, help="overwrite files that lie in the way of results")
@click.option("-n", "--dry-run", is_flag=True, help="show what would run, and why")
def run(**options: Any) -> None:
    """Find the viruses in FASTA files: contigs, or proteins to be embedded, plain or compressed.

    Each file is a sample, named like it. The same command again goes on where it was stopped, and does nothing twice.
    What follows -- goes to Snakemake.
    """
    from virnucpro.run.run import run

    context = click.get_current_context()
    context.exit(run(snakemake=context.meta["snakemake"], **options))


for key in SETTINGS:
    name = key.replace("_", "-")
    names = f"--{name}/--no-{name}" if PROPERTIES[key].get("type") == "boolean" else f"--{name}"
    run.params.append(click.Option([names], default=None, hidden=True))
