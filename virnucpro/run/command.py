"""The command `virnucpro run`."""

import textwrap
from typing import Any

import click

from virnucpro.command import FILE, POSITIVE, Command, auto_or
from virnucpro.config import DEFAULTS, PROPERTIES

NATURAL = click.IntRange(min=0)
SETTINGS = [key for key in PROPERTIES if key not in ("samples", "outdir")]  # these two have separate options

EXAMPLES = """\b
examples:
virnucpro run assembly.fna.gz
virnucpro run 'assemblies/*.fna.gz' --outdir phages --gpus 4
virnucpro run --samples table.tsv --no-call --model esm2_t36_3B_UR50D --slurm
"""


class RunCommand(Command):
    """A command with an option for every key of the configuration; what follows `--` goes to Snakemake."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Set aside the arguments for Snakemake."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta["snakemake"] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options; config keys are one paragraph, with their defaults."""
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
@click.option("-o", "--outdir", metavar="DIR", help="folder for the results  [default: results]")
@click.option("--type", "kind", type=click.Choice(["contigs", "proteins"]), default="contigs", help="what FASTA holds")
@click.option("--genes", metavar="FILE", help="genes of the contigs, GFF3 or GenBank")
@click.option("--samples", metavar="TABLE", help="instead of FASTA: sample, fasta, type, genes")
@click.option("--configfile", type=FILE, metavar="FILE", help="settings, as YAML")
@click.option("--config", multiple=True, metavar="KEY=VALUE", help="set a config key; same as --KEY VALUE")
@click.option("--cores", callback=auto_or(POSITIVE, "all"), metavar="N", help="CPU cores, or all  [default: all]")
@click.option("--gpus", type=NATURAL, metavar="N", help="GPUs; 0 is the CPU  [default: all]")
@click.option("--slurm", is_flag=False, flag_value="", metavar="[PARTITION]", help="run the jobs on a SLURM cluster")
@click.option("--workflow-profile", type=FILE, metavar="DIR", help="run the jobs by a profile of Snakemake")
@click.option("--force", is_flag=True, help="overwrite files in the way of results")
@click.option("-n", "--dry-run", is_flag=True, help="show what would run, and why")
def run(**options: Any) -> None:
    """Find the viruses in FASTA files of contigs, or embed FASTA files of proteins, plain or compressed.

    Each file is a sample, named like it. Run the same command again to resume. Arguments after -- go to Snakemake.
    """
    from virnucpro.run.run import run

    context = click.get_current_context()
    context.exit(run(snakemake=context.meta["snakemake"], **options))


for key in SETTINGS:
    name = key.replace("_", "-")
    names = f"--{name}/--no-{name}" if PROPERTIES[key].get("type") == "boolean" else f"--{name}"
    run.params.append(click.Option([names], default=None, hidden=True))
