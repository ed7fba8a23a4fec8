"""The workflow as a module of another one, which keeps its own rules and settings."""

import re
import subprocess
from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from tests.conftest import ROOT
from tests.workflow.project import ENVIRONMENT, Project, contigs

# State of the process that a module shares with its host, and could change.
STATE = """
    def state():
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VIRNUCPRO_")}
        settings = [str(value) for name, value in vars(workflow).items() if name.endswith("_settings")]
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        prefixes = [shell._process_prefix, shell._process_suffix, str(shell._process_args)]
        logs = [str(logging.getLogger(name).handlers) for name in ("", "snakemake")]
        place = [os.getcwd(), *(path for path in sys.path if "/workflow" not in path)]  # Snakemake adds those itself
        return [environment, settings, handlers, prefixes, logs, place, str(config)]
"""


class Host:
    """A folder with a workflow that has ours as a module."""

    def __init__(self, project: Project, module: str, rules: str = "") -> None:
        self.folder = project.folder
        self.environment = project.environment
        project.write()
        (self.folder / "host.yaml").write_text(yaml.safe_dump({"word": "one", "viruses": project.config}))
        text = f"""
import logging, os, signal, sys
configfile: "host.yaml"
shell.prefix("export HOSTVAR=prefixed; ")
{dedent(STATE)}
before = state()

module virnucpro:
    {module}
    config: config["viruses"]

use rule * from virnucpro as virnucpro_*
{dedent(rules)}
for old, new in zip(before, state()):
    assert old == new, f"the module changed {{old}} to {{new}}"

rule host:
    default_target: True
    input: rules.virnucpro_all.input
    output: "host.txt"
    params: word=config["word"]
    shell: "echo {{params.word}} $HOSTVAR > {{output}}"

onstart:
    print("the host starts")
"""
        (self.folder / "Snakefile").write_text(text)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["snakemake", "--cores", "2", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def complete(self, *arguments: str) -> Counter[str]:
        """Run to the end, and return the number of jobs by rule."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        table = (done.stdout + done.stderr).partition("Job stats:")[2]
        rows = re.findall(r"^([a-z_]+) +(\d+)$", table.partition("\n\n")[0], re.M)
        return Counter({rule: int(count) for rule, count in rows if rule != "total"})


ALL = {"fetch_model": 1, "token_budget": 1, "prepare": 1, "embed": 1, "merge": 1, "call": 1, "summary": 1}
JOBS = {"host": 1, **{f"virnucpro_{rule}": count for rule, count in ALL.items()}}


def make(folder: Path, environment: dict[str, str]) -> Project:
    project = Project(folder, environment)
    project.add("soil", contigs(1, 2))
    project.config["shard_tokens"] = 100_000
    project.add_classifier()
    return project


def snakefile(path: str) -> str:
    return f'snakefile: "{path}"'


HERE = snakefile(f"{ROOT}/workflow/Snakefile")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Host:
    made = Host(make(tmp_path_factory.mktemp("host"), forks), HERE)
    assert made.complete() == JOBS
    return made


def test_a_host_and_its_module_run_beside_each_other(host: Host) -> None:
    assert (host.folder / "host.txt").read_text() == "one prefixed\n"
    for name in ("soil/contigs.tsv", "soil/embeddings.h5", "summary.tsv", "report.html"):
        assert (host.folder / "out" / name).exists()
    done = host.run()
    assert "Nothing to be done" in done.stderr, "also by Snakemake's default rerun triggers"


def test_each_reruns_by_its_own_parameters(host: Host) -> None:
    assert host.complete("--config", "word=two") == {"host": 1}
    assert (host.folder / "host.txt").read_text() == "two prefixed\n"
    settings = yaml.safe_load((host.folder / "host.yaml").read_text())
    settings["viruses"]["prior"] = 0.1
    (host.folder / "host.yaml").write_text(yaml.safe_dump(settings))
    reruns = ("host", "virnucpro_call", "virnucpro_summary")
    assert host.complete("--config", "word=two") == dict.fromkeys(reruns, 1)


def test_a_host_can_prefix_and_replace_our_rules(tmp_path: Path, forks: dict[str, str]) -> None:
    rules = """
        use rule call from virnucpro as virnucpro_call with:
            log: "called_{sample}.log"
        use rule token_budget from virnucpro as virnucpro_token_budget with:
            resources: mem_mb=123
    """
    host = Host(make(tmp_path, forks), f'{HERE}\n    prefix: "viruses"', rules)
    planned = host.run("-n").stdout
    memory = {
        rule: int(re.search(rf"rule virnucpro_{rule}:.*?mem_mb=(\d+)", planned, re.S)[1])
        for rule in ("token_budget", "embed")
    }
    assert memory["token_budget"] == 123
    assert host.complete() == JOBS
    assert "viral" in (tmp_path / "called_soil.log").read_text()
    assert (tmp_path / "viruses" / "out" / "soil" / "contigs.tsv").exists()
    assert (tmp_path / "viruses" / "out" / "report.html").exists()
    assert not (tmp_path / "out").exists()
    assert "Nothing to be done" in host.run().stderr
    again = host.run("-n", "--forcerun", "virnucpro_embed").stdout
    known = int(re.search(r"rule virnucpro_embed:.*?mem_mb=(\d+)", again, re.S)[1])
    assert known < memory["embed"], "the size of the model is read where the prefix puts it"


def test_a_module_from_git_runs_the_installed_package(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    folders = ["workflow", "config", "envs"]
    for command in (
        ["git", "init", "--quiet", "--initial-branch", "main", clone],
        ["cp", "-r", *(ROOT / name for name in folders), clone],
        ["git", "-C", clone, "add", "--all"],
        ["git", "-C", clone, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "--message", "all"],
    ):
        subprocess.run(command, check=True)
    (tmp_path / "host").mkdir()
    project = make(tmp_path / "host", ENVIRONMENT | {"PYTHONPATH": str(ROOT)})
    host = Host(project, snakefile(f"git+file://{clone}/workflow/Snakefile@main"))
    assert host.complete("-n") == JOBS
    alone = host.run("out/work/model.json")
    assert alone.returncode == 0, alone.stderr
    assert (project.work / "model.json").exists()


PRIVATE = re.compile(
    r"workflow[.](dag|_)|(dag|scheduling|resource|execution|storage|output|config)_settings|is_main_process"
    r"|shell[.]prefix|snakemake[.](jobs|scheduling|settings|dag|workflow|logging)"
)


def test_nothing_reaches_into_snakemake() -> None:
    names = ["workflow", "virnucpro", "snakemake_logger_plugin_virnucpro", "profiles", "Snakefile"]
    files = [path for name in names for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    texts = {
        path: path.read_text() for path in files if path.suffix in (".py", ".smk", ".yaml") or path.name == "Snakefile"
    }
    assert len(texts) > 80
    found = [(str(path.relative_to(ROOT)), hit[0]) for path, text in texts.items() for hit in PRIVATE.finditer(text)]
    assert found == []
    assert all(PRIVATE.search(text) for text in ("workflow.dag_settings", "workflow._onstart", "shell.prefix("))
