"""A run, from its options to its exit status."""

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from virnucpro.calling.requirements import DEFAULT, settle_layers
from virnucpro.errors import UserError
from virnucpro.run.inputs import complete, find_samples, read_config, read_table, write_inputs
from virnucpro.run.lock import Lock, locked, unlock_snakemake
from virnucpro.run.machine import count_cores, count_gpus
from virnucpro.run.plan import Plan
from virnucpro.run.progress import Progress
from virnucpro.run.reasons import table_of_jobs
from virnucpro.run.results import describe_results
from virnucpro.run.screen import Screen, clock, printable
from virnucpro.run.snakemake import Event, run_snakemake

PACKAGE = Path(str(files("virnucpro")))


def run(
    fasta: Sequence[str],
    kind: str,
    configfile: Path | None,
    config: Sequence[str],
    cores: int | None,
    gpus: int | None,
    slurm: str | None,
    workflow_profile: Path | None,
    dry_run: bool,
    snakemake: Sequence[str],
    **settings: Any,
) -> int:
    """Run the workflow, and show how far it is and what came of it.

    Args:
        fasta: paths and patterns of files.
        kind: of what they hold, contigs or proteins.
        configfile: a file with settings.
        config: settings, KEY=VALUE.
        cores: of the CPU; None for all.
        gpus: how many; None for all.
        slurm: a partition, an empty text for the cluster's own choice, or None to run here.
        workflow_profile: of Snakemake.
        dry_run: whether to say only what would be done.
        snakemake: more of its arguments.
        settings: keys of the configuration; None where they are not given.

    Returns:
        The exit status.

    Raises:
        UserError: something is wrong with what is asked for, or Snakemake cannot do it.
    """
    chosen = read_config(configfile, config, settings)
    if fasta and "samples" in chosen:
        raise UserError("give either FASTA files or a table of samples; the table can hold them all")
    if fasta:
        samples = find_samples(fasta, kind)
    elif "samples" in chosen:
        samples = read_table(Path(chosen["samples"]))
    elif "training" in chosen:
        samples = []
    else:
        raise UserError("no samples: give FASTA files, or a table of them with --samples; virnucpro run --help")
    completed = complete(chosen)
    classifier = DEFAULT if completed["classifier"] == "default" else Path(completed["classifier"])
    kinds = {kind for _, _, kind in samples}
    settle_layers(completed, classifier, kinds)
    if completed["call"] and "contigs" in kinds and classifier.suffix == ".pth":
        from virnucpro.calling.published import read_pth  # with pandas and torch, for which no other run waits here

        read_pth(classifier)  # what may be wrong with it would else be found when all is embedded
    plan = Plan(completed, {name: (Path(path), kind) for name, path, kind in samples}, classifier)
    folder, shown_folder = Path(completed["outdir"]), Path(chosen.get("outdir", "results"))
    shared = ["--snakefile", str(PACKAGE / "workflow" / "Snakefile"), "--keep-going", "--rerun-incomplete"]
    if "container" in completed:
        shared += ["--software-deployment-method", "apptainer"]
    with tempfile.TemporaryDirectory(prefix="virnucpro-") as created:
        temporary = Path(created)
        shared += _where(cores, gpus, slurm, workflow_profile, temporary)
        if dry_run:
            directory = folder if (folder / ".snakemake").exists() else temporary  # where there is none, none is made
            inputs = ["--configfile", str(write_inputs(completed, samples, temporary)), "--directory", str(directory)]
            progress = Progress(plan, temporary / "snakemake.log", cores or count_cores())
            return _look([*shared, *inputs, "--dry-run", *snakemake], progress, shown_folder)
        with locked(folder) as lock:
            inputs = ["--configfile", str(write_inputs(completed, samples, folder)), "--directory", str(folder)]
            progress = Progress(plan, folder / "logs" / "snakemake.log", cores or count_cores())
            return _follow([*shared, *inputs, *snakemake], lock, progress, shown_folder)


def _where(
    cores: int | None, gpus: int | None, slurm: str | None, workflow_profile: Path | None, temporary: Path
) -> list[str]:
    """Return Snakemake's arguments on where jobs run."""
    if slurm is not None and workflow_profile:
        raise UserError("--slurm comes with a profile of its own; give it or --workflow-profile")
    resources = [] if gpus is None else ["--resources", f"gpu={max(gpus, 1)}"]
    if slurm is not None:
        profile = _slurm_profile(slurm, temporary)
        return ["--workflow-profile", str(profile), *resources, *(["--local-cores", str(cores)] if cores else [])]
    if workflow_profile:
        profile = workflow_profile.absolute()
        return ["--workflow-profile", str(profile), *resources, *(["--cores", str(cores)] if cores else [])]
    # Without a GPU the one is the CPU, which does one job at a time.
    resources = resources or ["--resources", f"gpu={max(count_gpus(), 1)}"]
    scheduling = ["--scheduler", "greedy", "--scheduler-subsample", "200"]  # as in profiles/default
    return ["--workflow-profile", "none", *resources, "--cores", str(cores or "all"), *scheduling]


def _slurm_profile(partition: str, folder: Path) -> Path:
    """Write the profile for SLURM with a partition in place of those that a site fills in, and return its path."""
    if Path(partition).exists() and partition:
        raise UserError(f"--slurm {partition}: that is a file; put --slurm behind it, or name the partition")
    profile = yaml.safe_load((PACKAGE / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    for key in ("default-resources", "set-resources"):
        del profile[key]
    if partition:
        profile["default-resources"] = {"slurm_partition": partition}
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder / "config.yaml"


def _follow(arguments: Sequence[str], lock: Lock, progress: Progress, shown_folder: Path) -> int:
    """Run Snakemake, show how far it is and what came of it, and return the exit status."""
    folder, samples = progress.plan.outdir, list(progress.plan.samples)
    shown_log = shown_folder / progress.log.relative_to(folder)
    _say(f"{len(samples):,} sample{'s' * (len(samples) != 1)} into {shown_folder}; Snakemake's log is {shown_log}")
    with Screen(progress, str(folder), str(shown_folder)) as screen:
        status = _listen(arguments, lock, progress, screen)
    if status < 0:
        unlock_snakemake(folder)
        raise UserError(f"Snakemake was killed ({signal.Signals(-status).name}); the same command goes on from here")
    if failed := len(progress.failures):
        raise UserError(f"{failed} job{'s' * (failed != 1)} failed; the same command goes on from here")
    if status:
        raise UserError(progress.problem)
    if not progress.stages:
        _say("nothing to do, all is there")
    print(describe_results(folder, shown_folder, samples))
    print(f"{clock(time.monotonic() - progress.started)} in all")
    return 0


def _look(arguments: Sequence[str], progress: Progress, shown_folder: Path) -> int:
    """Say which jobs would run, and why."""
    if _listen(arguments, None, progress):
        raise UserError(progress.problem)
    for message in progress.take_messages():
        _say(message.text.replace(str(progress.plan.outdir), str(shown_folder)))
    jobs = progress.announced
    print(table_of_jobs(progress.plan, jobs) if jobs else "nothing to do, all is there\n", end="")
    return 0


def _listen(arguments: Sequence[str], lock: Lock | None, progress: Progress, screen: Screen | None = None) -> int:
    """Run Snakemake and return its exit status, while `progress` is kept and shown."""

    def on_events(events: list[Event]) -> None:
        for event in events:
            progress.handle(event)
        progress.read_logs()
        if screen:
            screen.refresh()

    def on_signal(number: int) -> None:
        if screen:
            screen.close()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        _say(f"stopped by {name}; the same command goes on from here")

    status = run_snakemake(arguments, progress.log, lock, on_events, on_signal)
    on_events([])
    return status


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
