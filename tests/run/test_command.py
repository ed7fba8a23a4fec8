"""The options of `virnucpro run`."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.run.conftest import ENVIRONMENT, VIRNUCPRO, Folder
from virnucpro.config import DEFAULTS, PROPERTIES
from virnucpro.errors import UserError
from virnucpro.run.command import run
from virnucpro.run.machine import count_cores
from virnucpro.run.run import _where


def type_in(*arguments: str, folder: Path, columns: str = "80") -> subprocess.CompletedProcess[str]:
    environment = ENVIRONMENT | {"COLUMNS": columns}
    command = [*VIRNUCPRO, "run", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_help_fits_a_screen_and_has_three_examples(tmp_path: Path) -> None:
    text = type_in("--help", folder=tmp_path).stdout
    assert len(text.splitlines()) <= 35
    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(r"^ +virnucpro run [^\n]+$", text, re.MULTILINE)) == 3
    for key in DEFAULTS.keys() - {"outdir"}:
        assert re.search(rf"--(no-)?{key.replace('_', '-')} ", text.replace("\n", " ")), key


def test_every_key_of_the_configuration_is_an_option() -> None:
    for key, rules in PROPERTIES.items():
        spelled = f"--{key.replace('_', '-')}"
        value = {"boolean": [], "array": ["1,4"]}.get(str(rules.get("type")), ["7"])
        parsed = run.make_context("run", ["x.fna", spelled, *value]).params
        assert str(parsed[key]) == (value[0] if value else "True")
    assert run.make_context("run", ["x.fna", "--no-call", "--layers", "-1,2"]).params["call"] is False
    assert {key for key, value in run.make_context("run", ["x.fna"]).params.items() if value is not None} == {
        *("fasta", "kind", "config", "force", "dry_run")
    }


def test_what_follows_two_hyphens_is_for_snakemake() -> None:
    context = run.make_context("run", ["x.fna", "-n", "--", "--until", "merge", "--", "-x"])
    assert context.meta["snakemake"] == ["--until", "merge", "--", "-x"]
    assert context.params["fasta"] == ("x.fna",)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 1, r"virnucpro run: error: no samples: give FASTA files, .*\n"),
        (("x.fna", "--chunk-sise", "300"), 2, r"(?s).*No such option '--chunk-sise'. .*--chunk-size.*\n"),
        (("x.fna", "--config", "chunk-sise=300"), 1, r".*unknown key chunk-sise; do you mean chunk_size\?\n"),
        (("x.fna", "--samples", "t.tsv"), 1, r".*error: give either FASTA files or a table of samples; .*\n"),
        (("y.fna",), 1, r"virnucpro run: error: y.fna: no such file\n"),
        (("x.fna", "--chunk-size", "1"), 1, r".*chunk_size is 1, but must be a whole number of bases from 3 .*\n"),
        (("--slurm", "x.fna"), 1, r".*no samples: .*\n"),
        (("x.fna", "--slurm", "x.fna"), 1, r".*error: --slurm x.fna: that is a file; .*\n"),
        (("x.fna", "--slurm", "--workflow-profile", "p"), 1, r".*error: --slurm uses its own profile; .*\n"),
        (("x.fna", "--outdir", "x.fna/out"), 1, r".*error: config: outdir is x.fna/out, but x.fna is a file; .*\n"),
        (("x.fna", "--configfile", "absent.yaml"), 1, r".*error: .*absent.yaml.*\n"),
        (("x.fna", "--model", "other.pt"), 1, r".*: model is .*/other.pt, but the classifier was trained with .*\n"),
        (("x.fna", "--cores", "0"), 2, r"(?s).*--cores.*"),
    ],
)
def test_what_cannot_be_run(arguments: tuple[str, ...], status: int, message: str, tmp_path: Path) -> None:
    for name in ("x.fna", "other.pt"):
        (tmp_path / name).write_text(">a\nACGT\n")
    done = type_in(*arguments, folder=tmp_path)
    assert done.returncode == status
    assert re.fullmatch(message, done.stderr)
    assert not list(tmp_path.glob("results/x")), "nothing was run"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cposix\nsystem\n(S'touch ran'\ntR.", "it names posix.system, which no classifier of VirNucPro needs"),
        (b"no pickle", "damaged or not a classifier"),
    ],
)
def test_a_classifier_that_cannot_be_read_is_refused_at_the_start(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.fna").write_text(">a\nACGT\n")
    (tmp_path / "500_model.pth").write_bytes(content)
    done = type_in("x.fna", "--preset", "virnucpro-500", "--classifier", "500_model.pth", folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"virnucpro run: error: .*500_model.pth: not loaded: (.*); give another file\n", done.stderr)
    assert message in done.stderr
    assert not list(tmp_path.glob("results/x")), "nothing was run"


def test_a_look_changes_nothing(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    done = folder.run("p.faa", "--type", "proteins", "-n")
    assert done.returncode == 0, done.stderr
    rows = [re.split("  +", line) for line in done.stdout.splitlines()]
    assert rows[0] == ["stage", "jobs", "why"]
    assert sorted(rows[1:]) == [
        [stage, "1", "not made yet"]
        for stage in ("embed", "fetch model", "merge", "prepare", "summary", "token budget")
    ]
    assert [path.name for path in folder.path.iterdir()] == ["p.faa"]


def test_where_jobs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert _where(None, None, None, None, tmp_path) == [
        *("--workflow-profile", "none", "--resources", "gpu=3", "--cores", str(count_cores())),
        *("--scheduler", "greedy", "--scheduler-subsample", "20", "--max-jobs-per-timespan", "100000/1m"),
    ]
    assert _where(4, 0, None, None, tmp_path)[2:6] == ["--resources", "gpu=1", "--cores", "4"]
    profile = tmp_path / "site"
    assert _where(None, None, None, profile, tmp_path) == ["--workflow-profile", str(profile)]
    assert _where(None, None, "gpu", None, tmp_path) == ["--workflow-profile", str(tmp_path / "config.yaml")]
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["default-resources"] == {"slurm_partition": "gpu"}
    assert written["executor"] == "slurm"
    assert "set-resources" not in written
    _where(None, None, "", None, tmp_path)
    assert "default-resources" not in yaml.safe_load((tmp_path / "config.yaml").read_text())
    with pytest.raises(UserError, match="--slurm uses its own profile"):
        _where(None, None, "", profile, tmp_path)
