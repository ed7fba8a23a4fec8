"""Run the workflow, from options to exit status."""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from virnucpro.errors import UserError, printable
from virnucpro.report.results import describe_results, number_of
from virnucpro.run.claims import claim
from virnucpro.run.finished import is_complete, is_finished
from virnucpro.run.inputs import (
    Sample,
    complete,
    earlier_samples,
    find_samples,
    read_config,
    read_table,
    write_inputs,
)
from virnucpro.run.lock import hold, release
from virnucpro.run.look import place_dry_run
from virnucpro.run.machine import count_cores, count_gpus
from virnucpro.run.plan import Plan, plan_run
from virnucpro.run.progress import Progress
from virnucpro.run.reasons import table_of_jobs
from virnucpro.run.screen import Screen, clock, describe_stages, show_paths
from virnucpro.run.snakemake import Event, ask_snakemake, run_snakemake, runs_no_job

PACKAGE = Path(str(files("virnucpro")))
SHOW_SECONDS = 1.0  # between updates of the screen
MEMORY = Path(".snakemake", "virnucpro")  # of the Snakefile, relative to Snakemake's working folder


def run(
    fasta: Sequence[str],
    kind: str,
    genes: str | None,
    configfile: Path | None,
    config: Sequence[str],
    cores: int | None,
    gpus: int | None,
    slurm: str | None,
    workflow_profile: Path | None,
    dry_run: bool,
    force: bool,
    snakemake: Sequence[str],
    **settings: Any,
) -> int:
    """Run the workflow, and show its progress and its results.

    Args:
        fasta, kind, genes, configfile, config, cores, gpus, slurm, workflow_profile, dry_run, force: Options of
            `virnucpro run`; `slurm` is empty for the cluster's default partition, and None to run on this machine.
        snakemake: Further arguments of Snakemake.
        settings: Keys of the configuration; None if not given.

    Returns:
        The exit status.

    Raises:
        UserError: An option or input is wrong, or Snakemake failed.
    """
    if gpus == 0:
        settings["device"] = "cpu"
    chosen = read_config(configfile, config, settings)
    completed = complete(chosen)
    if fasta and "samples" in chosen:
        raise UserError("give either FASTA files or a table of samples; the table can hold them all")
    if fasta:
        samples = find_samples(fasta, kind, genes)
    elif genes:
        raise UserError("--genes goes with a FASTA file; a table of samples has a column genes")
    elif "samples" in chosen:
        samples = read_table(Path(completed["samples"]))
    elif "training" in chosen:
        samples = []
    else:
        raise UserError("no samples: give FASTA files, or a table of them with --samples; virnucpro run --help")
    folder, shown_folder = Path(completed["outdir"]), str(Path(chosen.get("outdir", "results")))
    work = folder / "work"
    idle = "nothing to do" if snakemake else "nothing to do, all is there"  # these may request a part of the run
    arguments = ["--snakefile", str(PACKAGE / "workflow" / "Snakefile"), "--keep-going", "--rerun-incomplete"]
    arguments += ["--nolock", "--rerun-triggers", "mtime", "params"]
    if "container" in completed:
        arguments += ["--software-deployment-method", "apptainer"]
    with tempfile.TemporaryDirectory(prefix="virnucpro-") as created:
        temporary = Path(created)
        arguments += _where(cores, gpus, slurm, workflow_profile, temporary)
        directory, written, logs, lock = work, work, work / "logs", None
        if dry_run:
            directory, written, logs = place_dry_run(work, temporary), temporary, temporary
            if directory not in (work, temporary):
                completed["outdir"] = str(directory.parent)
            arguments += ["--dry-run"]
        else:
            lock = hold(work)
        try:
            earlier = earlier_samples(work / "samples.tsv", samples) if fasta else []
            inputs, plan = _plan(completed, [*earlier, *samples], written, directory)
            if incomplete := {one.sample for one in earlier if not is_complete(plan, one.sample)}:
                earlier = [one for one in earlier if one.sample not in incomplete]
                inputs, plan = _plan(completed, [*earlier, *samples], written, directory)
            if force and not dry_run:
                claim(plan.results(work), work / MEMORY / "results.json", force=True)
            arguments += ["--configfile", str(inputs), "--directory", str(directory), *snakemake]
            if runs_no_job(snakemake):
                return ask_snakemake(arguments)
            progress = Progress(plan, logs / "snakemake.log", cores or count_cores())
            if dry_run:
                return _look(arguments, progress, shown_folder, idle)
            return _follow(arguments, lock, progress, shown_folder, idle)
        finally:
            if lock is not None:
                release(lock)


def _plan(completed: dict[str, Any], samples: Sequence[Sample], written: Path, directory: Path) -> tuple[Path, Plan]:
    """Write the configuration of a run, check all files that it reads, and return its path and the plan."""
    inputs = write_inputs(completed, samples, written, directory)
    config = json.loads(inputs.read_text(encoding="utf-8")) | {"outdir": completed["outdir"]}
    plan = plan_run(config, directory / MEMORY)
    if plan.called and plan.classifier.suffix == ".pth":
        from virnucpro.calling.published import read_pth  # loaded here: it loads pandas and torch

        read_pth(plan.classifier)  # finds errors before the run, not after all is embedded
    return inputs, plan


def _where(
    cores: int | None, gpus: int | None, slurm: str | None, workflow_profile: Path | None, temporary: Path
) -> list[str]:
    """Return Snakemake's arguments on where jobs run."""
    if slurm is not None and workflow_profile:
        raise UserError("--slurm uses its own profile; give either --slurm or --workflow-profile")
    resources = [] if gpus is None else ["--resources", f"gpu={max(gpus, 1)}"]
    if slurm is not None and not find_spec("snakemake_executor_plugin_slurm"):
        raise UserError("--slurm needs Snakemake's plugin; type pip install 'snakemake-executor-plugin-slurm>=2.8,<3'")
    if slurm is not None or workflow_profile:
        option = "--cores" if workflow_profile else "--local-cores"
        profile = workflow_profile.absolute() if workflow_profile else _slurm_profile(slurm or "", temporary)
        return ["--workflow-profile", str(profile), *resources, *([option, str(cores)] if cores else [])]
    # Without a GPU the resource stands for the CPU, which embeds one shard at a time.
    resources = resources or ["--resources", f"gpu={max(count_gpus(), 1)}"]
    scheduling = ["--scheduler", "greedy", "--scheduler-subsample", "20"]  # as in profiles/default
    scheduling += ["--max-jobs-per-timespan", "100000/1m"]
    return ["--workflow-profile", "none", *resources, "--cores", str(cores or count_cores()), *scheduling]


def _slurm_profile(partition: str, folder: Path) -> Path:
    """Write the profile for SLURM with a partition filled in, and return its path."""
    if Path(partition).exists() and partition:
        raise UserError(f"--slurm {partition}: that is a file; put --slurm behind it, or name the partition")
    profile = yaml.safe_load((PACKAGE / "profiles" / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    for key in ("default-resources", "set-resources"):
        del profile[key]
    if partition:
        profile["default-resources"] = {"slurm_partition": partition}
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder / "config.yaml"


def _follow(arguments: Sequence[str], lock: int | None, progress: Progress, shown_folder: str, idle: str) -> int:
    """Run Snakemake, show progress and results, or `idle` if no job ran; return the exit status."""
    plan = progress.plan
    samples, folder = list(plan.samples), Path(plan.config["outdir"])
    count = number_of(len(samples), "sample")
    _say(f"{count} into {shown_folder}; Snakemake's log is {shown_folder}/work/logs/snakemake.log")
    with closing(Screen(progress, shown_folder)) as screen:
        status = _listen(arguments, lock, progress, screen)
    if status < 0:
        raise UserError(f"Snakemake was killed ({signal.Signals(-status).name}); run the same command again to resume")
    failed = len(progress.failures)
    if status and not failed:
        raise UserError(show_paths(progress.problem, shown_folder))
    if not progress.stages:
        _say(idle)
    finished = [sample for sample in samples if is_finished(plan, sample)] if failed else samples
    if finished:
        print(describe_results(folder, Path(shown_folder), finished))
    print(f"{clock(time.monotonic() - progress.started)} in all{describe_stages(progress.stages.values())}")
    if failed:
        jobs = number_of(failed, "job")
        raise UserError(f"{jobs} failed. Fix the problem above, then run the same command to resume.")
    return 0


def _look(arguments: Sequence[str], progress: Progress, shown_folder: str, idle: str) -> int:
    """Show which jobs would run and why, or `idle` if no job would run."""
    if _listen(arguments, None, progress):
        raise UserError(show_paths(progress.problem, shown_folder))
    for message in progress.take_messages():
        _say(show_paths(message.text, shown_folder))
    jobs = progress.announced
    print(table_of_jobs(jobs) if jobs else f"{idle}\n", end="")
    return 0


def _listen(arguments: Sequence[str], lock: int | None, progress: Progress, screen: Screen | None = None) -> int:
    """Run Snakemake and return its exit status; update `progress` and its screen meanwhile."""
    shown = 0.0

    def show() -> None:
        nonlocal shown
        shown = time.monotonic()
        progress.read_logs()
        if screen:
            screen.refresh()

    def on_events(events: list[Event]) -> None:
        for event in events:
            progress.handle(event)
        if events or time.monotonic() - shown >= SHOW_SECONDS:
            show()

    def on_signal(number: int) -> None:
        if screen:
            screen.close()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        _say(f"stopped by {name}; run the same command again to resume")

    status = run_snakemake(arguments, progress.log, lock, on_events, on_signal)
    show()
    return status


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
