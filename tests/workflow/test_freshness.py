"""Results are never older than what they claim to come from, and nothing runs for nothing."""

import os
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.calling.original import random_classifier, save_as_original
from tests.conftest import AMINO_ACIDS, ROOT
from tests.encoders import dna
from tests.workflow.project import ENVIRONMENT, Project, contigs
from virnucpro.calling import CALL_FILES
from virnucpro.data.fasta import BEGINNING
from virnucpro.data.provenance import read_provenance
from virnucpro.naming.references import load_references
from virnucpro.run.plan import VERSIONS

RESULTS = ("embeddings.h5", *CALL_FILES[:-1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """Two samples with calls."""
    project = Project(tmp_path_factory.mktemp("finished"), forks)
    project.config["shard_tokens"] = 100_000
    project.add("soil", contigs(1, 2))
    project.add("gut", contigs(2, 2))
    project.add_classifier()
    project.complete()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of it: all is in another place, under other dates."""
    return finished.copy(tmp_path)


@pytest.fixture(scope="module")
def uncalled(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A sample in two shards, and no calls."""
    project = Project(tmp_path_factory.mktemp("uncalled"), forks)
    project.add("soil", contigs(1))
    project.complete()
    return project


def results(project: Project) -> dict[str, bytes]:
    return {name: (project.results / "soil" / name).read_bytes() for name in RESULTS}


def content(folder: Path) -> dict[Path, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.lock")
    return {path: path.read_bytes() for path in files}


def fails(project: Project, message: str) -> None:
    done = project.run()
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Nothing to be done" not in done.stderr


def test_pack_fails_until_the_budget_is_right(project: Project, finished: Project) -> None:
    project.config["token_budget"] = 60
    for _ in range(2):
        fails(project, "virnucpro pack: error: sample soil: token_budget 60 is smaller than sequence")
    project.config["token_budget"] = 1024
    assert project.complete().total() > 0
    assert results(project) == results(finished)


def test_prepare_fails_until_the_contigs_are_right(project: Project, finished: Project) -> None:
    right = (project.folder / "soil.fa").read_text()
    project.add("soil", f">a\n{'ACGT' * BEGINNING}\n>a\nACGT\n")  # at the beginning it would stop the start
    for _ in range(2):
        fails(project, "virnucpro prepare: error: sample soil: soil.fa: line 3: two records are named a")
    project.add("soil", right)
    assert project.complete().total() > 0
    assert results(project) == results(finished)


@pytest.mark.parametrize("change", ["chunks", "proteins", "nothing"])
def test_a_run_without_calls_leaves_those_of_an_earlier_run(project: Project, finished: Project, change: str) -> None:
    calls = {name: (project.results / "soil" / name).read_bytes() for name in CALL_FILES}
    if change == "proteins":
        project.add("soil", f">p\n{''.join(random.Random(1).choices(AMINO_ACIDS, k=90))}\n", kind="proteins")
        earlier = "soil"
    else:
        project.config["call"] = False
        project.config["chunk_size"] = 300 if change == "chunks" else 500
        earlier = "soil, gut"
    assert project.complete()["call"] == 0
    assert {name: (project.results / "soil" / name).read_bytes() for name in CALL_FILES} == calls
    assert f"those of {earlier} belong to an earlier run\n" in (project.results / "summary.txt").read_text()
    if change != "proteins":
        assert "The calls of soil, gut belong to an earlier run" in (project.results / "report.html").read_text()
    assert list(pd.read_csv(project.results / "summary.tsv", sep="\t")["sample"]) == ["soil", "gut"]
    project.add("soil", (finished.folder / "soil.fa").read_text())
    project.config = finished.config.copy()
    project.complete()
    assert results(project) == results(finished)
    assert "earlier run" not in (project.results / "summary.txt").read_text()


LOOKS = ["-np", "--summary", "--detailed-summary", "--list-rules", "--list-input-changes", "--filegraph", "--dag"]
LOOKS += ["--rulegraph", "--report", "--unlock", "--touch"]


@pytest.mark.parametrize("damaged", [True, False])
def test_a_look_changes_nothing(project: Project, damaged: bool) -> None:
    """--touch may change dates, and --report writes its page beside the results."""
    if damaged:
        project.config |= {"prior": 0.2, "per_residue": True}
        for name in ("soil/genes.tsv", "work/soil/merge.json", "work/soil/shards/0001.json"):
            (project.results / name).unlink()
        os.truncate(project.results / "gut" / "embeddings.h5", 99)
    before = content(project.results), project.stamps(".")
    for look in LOOKS:
        done = project.run(look)
        # A target is missing that --touch and --report are asked to touch, and to show.
        assert done.returncode == 0, (look, done.stderr)
        assert "Traceback" not in done.stderr
        assert content(project.results) == before[0], look
        assert look == "--touch" or project.stamps(".") == before[1], look
    if damaged:
        assert project.planned()["embed"] > 0, "it was touched, which makes it no newer"
    else:
        assert project.planned() == {}


def test_looks_at_finished_results_need_no_fasta(project: Project) -> None:
    assert project.planned() == {}  # their digests are known where they lie now
    for sample in project.samples:
        (project.folder / f"{sample}.fa").unlink()
    for look in ("--unlock", "--summary", "--list-rules", "--report", "-n"):
        done = project.run(look)
        assert done.returncode == 0, (look, done.stderr)
    assert project.planned() == {}
    project.config["prior"] = 0.2
    assert "soil.fa" in project.run().stderr, "call reads it"


# Each case: a change to a project, changed settings, and the jobs that follow.
Deed = Callable[[Project], None]
CALLED = {"call": 2, "summary": 1}


def nothing(project: Project) -> None:
    pass


def touch_fasta(project: Project) -> None:
    for path in project.folder.glob("*.fa"):
        path.touch()


def scramble_dates(project: Project) -> None:
    rng = random.Random(1)
    for path in project.results.rglob("*"):
        os.utime(path, (0, rng.randrange(2_000_000_000)))


def delete_intermediates(*names: str) -> Deed:
    def delete(project: Project) -> None:
        for name in names:
            for folder in project.work.glob(f"*/{name}"):
                shutil.rmtree(folder)

    delete.__name__ = " ".join(["delete", *names])
    return delete


def another_classifier(project: Project) -> None:
    if (project.folder / "500_model.pth").exists():
        save_as_original(random_classifier(36 + 32, seed=1), project.folder / "500_model.pth")
    else:
        project.add_classifier(seed=1)


def other_contigs(project: Project) -> None:
    project.add("soil", contigs(7, 2))


def other_older_contigs(project: Project) -> None:
    other_contigs(project)
    os.utime(project.folder / "soil.fa", (0, 0))


def lose(name: str) -> Deed:
    def deed(project: Project) -> None:
        (project.results / name).unlink()

    deed.__name__ = f"lose {name}"
    return deed


ONE_SAMPLE = {"prepare": 1, "embed": 1, "merge": 1, "call": 1, "summary": 1}
TABLE: list[tuple[Deed, dict[str, Any], dict[str, int]]] = [
    (nothing, {}, {}),
    (touch_fasta, {}, {}),
    (scramble_dates, {}, {}),
    (delete_intermediates("prepared"), {}, {}),
    (delete_intermediates("shards*"), {}, {}),
    (delete_intermediates("prepared", "shards*", "manifests*"), {}, {}),
    (nothing, {"max_fdr": 0.3}, CALLED),
    (nothing, {"per_residue": True}, {"embed": 2, "merge": 2} | CALLED),
    (other_contigs, {}, ONE_SAMPLE),
    (other_older_contigs, {}, ONE_SAMPLE),
    (another_classifier, {}, CALLED),
    (lose("soil/contigs.tsv"), {}, CALLED | {"call": 1}),
    (lose("soil/viral.gbk"), {}, CALLED | {"call": 1}),
    (lose("soil/embeddings.h5"), {}, CALLED | {"merge": 1, "call": 1}),
    (lose("summary.txt"), {}, {"summary": 1}),
    (lose("report.html"), {}, {"summary": 1}),
]


def name_of(value: Any) -> str:
    return value.__name__ if callable(value) else " ".join(map(str, value)) or "-"


@pytest.mark.parametrize(("deed", "change", "expected"), TABLE, ids=name_of)
def test_what_runs_again(project: Project, deed: Deed, change: dict[str, Any], expected: dict[str, int]) -> None:
    deed(project)
    project.config |= change
    assert project.planned() == expected


@pytest.mark.parametrize("deed", [other_older_contigs, another_classifier, lose("soil/genes.tsv")], ids=name_of)
def test_what_is_planned_runs_once_and_gives_the_new_results(project: Project, finished: Project, deed: Deed) -> None:
    deed(project)
    planned = project.planned()
    assert project.complete() == planned
    assert project.planned() == {}
    assert "Nothing to be done" in project.run().stderr
    made, before = results(project), results(finished)
    assert (made["embeddings.h5"] == before["embeddings.h5"]) == (deed is not other_older_contigs)
    assert (made["contigs.tsv"] == before["contigs.tsv"]) == (deed.__name__ == "lose soil/genes.tsv")


@pytest.fixture(scope="module")
def two_encoders(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """Two samples, called by a classifier of the original VirNucPro from two encoders."""
    project = Project(tmp_path_factory.mktemp("two"), forks)
    dna.save_dnabert(project.folder / "dna", d=36, heads=6)
    save_as_original(random_classifier(36 + 32), project.folder / "500_model.pth")
    project.config |= {"nucleotide_model": "dna", "classifier": "500_model.pth", "call": True, "shard_tokens": 100_000}
    project.add("soil", contigs(1, 2))
    project.add("gut", contigs(2, 2))
    project.complete()
    return project


def other_tokenizer(project: Project) -> None:
    path = project.folder / "dna" / "tokenizer.json"
    path.write_text(path.read_text() + "\n")


OF_BOTH = ONE_SAMPLE | {"embed": 2, "merge": 2}
ENCODERS: list[tuple[Deed, dict[str, Any], dict[str, int]]] = [
    *TABLE[:8],
    (other_contigs, {}, OF_BOTH),
    (other_older_contigs, {}, OF_BOTH),
    *TABLE[10:],
    (lose("soil/embeddings_nucleotides.h5"), {}, CALLED | {"merge": 1, "call": 1}),
    (
        other_tokenizer,
        {},
        {"fetch_model": 1, "token_budget": 1, "prepare": 2, "embed": 4, "merge": 4} | CALLED,
    ),
]


@pytest.mark.parametrize(("deed", "change", "expected"), ENCODERS, ids=name_of)
def test_what_runs_again_of_two_encoders(
    two_encoders: Project, tmp_path: Path, deed: Deed, change: dict[str, Any], expected: dict[str, int]
) -> None:
    test_what_runs_again(two_encoders.copy(tmp_path), deed, change, expected)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """A training, and a sample that its classifier calls."""
    project = Project(tmp_path_factory.mktemp("trained"), forks)
    rows = ["fasta\trecord\tlabel\tgroup\tkind\tsplit\n"]
    for number in range(8):
        label, bases = [("cellular", "ACGGGT"), ("viral", "AACCCG")][number % 2]
        genome = "".join(random.Random(number).choices(bases, k=6000))
        (project.folder / f"g{number}.fa").write_text(f">a{number}\n{genome}\n")
        rows.append(f"g{number}.fa\t\t{label}\tgroup{number}\t\t{'test' if number > 5 else 'train'}\n")
    (project.folder / "training.tsv").write_text("".join(rows))
    project.config |= {"training": "training.tsv", "training_bases": 6_000, "shard_tokens": 100_000, "call": True}
    project.config["classifier"] = "out/training/classifier/classifier.safetensors"
    project.add("soil", contigs(1, 2))
    # A run reads what its classifier takes, so this one is trained first.
    assert project.complete("--config", "call=False", "--", "train")["train"] == 1
    project.complete()
    return project


def other_genome(project: Project) -> None:
    path = project.folder / "g0.fa"
    path.write_text(path.read_text().replace("ACG", "AGC"))
    os.utime(path, (0, 0))


def other_table(project: Project) -> None:
    path = project.folder / "training.tsv"
    path.write_text(path.read_text().replace("group1\t", "group11\t"))


CALLED_ONE = {"call": 1, "summary": 1}
TRAINED = {"train": 1} | CALLED_ONE
WHOLE_TRAINING = {"fragment": 1, "prepare": 1, "embed": 1, "merge": 1} | TRAINED


@pytest.mark.parametrize(
    ("deed", "change", "expected"),
    [
        *TABLE[:6],
        (nothing, {"prior": 0.1}, CALLED_ONE),
        (nothing, {"per_residue": True}, {"embed": 2, "merge": 2} | TRAINED),
        (nothing, {"seed": 7}, WHOLE_TRAINING),
        (nothing, {"training_bases": 5_000}, WHOLE_TRAINING),
        (other_genome, {}, WHOLE_TRAINING),
        (other_table, {}, WHOLE_TRAINING),
        (other_contigs, {}, ONE_SAMPLE),
        (lose("soil/contigs.tsv"), {}, CALLED_ONE),
    ],
    ids=name_of,
)
def test_what_runs_again_of_a_training(
    trained: Project, tmp_path: Path, deed: Deed, change: dict[str, Any], expected: dict[str, int]
) -> None:
    test_what_runs_again(trained.copy(tmp_path), deed, change, expected)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, forks: dict[str, str]) -> Project:
    """Two samples with calls, named by references of the user as well."""
    project = Project(tmp_path_factory.mktemp("named"), forks)
    project.config |= {"shard_tokens": 100_000, "references": "viruses"}
    (project.folder / "viruses").mkdir()
    for name in ("a", "b"):
        (project.folder / "viruses" / f"{name}.fna").write_text(f">{name}\n{random_dna(name)}\n")
    project.add("soil", contigs(1, 2))
    project.add("gut", contigs(2, 2))
    project.add_classifier()
    assert project.complete()["references"] == 1
    assert len(load_references(project.work / "references.npz").table) == 2
    merged = read_provenance(project.work / "soil" / "merge.json", "merge")
    assert "references" not in merged.details["settings"], "they change no embedding"
    return project


def random_dna(seed: str) -> str:
    return "".join(random.Random(seed).choices("ACGT", k=1200))


def other_reference(project: Project) -> None:
    path = project.folder / "viruses" / "b.fna"
    path.write_text(f">b\n{random_dna('c')}\n")
    os.utime(path, (0, 0))


def one_more_reference(project: Project) -> None:
    (project.folder / "viruses" / "c.fna").write_text(f">c\n{random_dna('c')}\n")


def one_reference_less(project: Project) -> None:
    (project.folder / "viruses" / "a.fna").unlink()


def touch_references(project: Project) -> None:
    for path in (project.folder / "viruses").iterdir():
        path.touch()


def add_notes(project: Project) -> None:
    (project.folder / "viruses" / "notes.txt").write_text("where they come from")


NAMED = {"references": 1} | CALLED


@pytest.mark.parametrize(
    ("deed", "change", "expected"),
    [
        *TABLE[:6],
        (touch_references, {}, {}),
        (add_notes, {}, {}),
        (other_reference, {}, NAMED),
        (one_more_reference, {}, NAMED),
        (one_reference_less, {}, NAMED),
        (lose("work/references.npz"), {}, {}),
        (lose("work/references.npz"), {"max_fdr": 0.3}, NAMED),
        (nothing, {"max_fdr": 0.3}, CALLED),
        (other_contigs, {}, ONE_SAMPLE),
    ],
    ids=name_of,
)
def test_what_runs_again_of_references(
    named: Project, tmp_path: Path, deed: Deed, change: dict[str, Any], expected: dict[str, int]
) -> None:
    test_what_runs_again(named.copy(tmp_path), deed, change, expected)


def test_references_come_and_go_by_their_key(named: Project, tmp_path: Path) -> None:
    project = named.copy(tmp_path)
    other_reference(project)
    assert project.complete() == NAMED
    assert project.planned() == {}
    del project.config["references"]
    assert project.complete() == CALLED
    project.config["references"] = "viruses"
    assert project.planned() == CALLED


def test_a_folder_without_references_stops_the_start(named: Project, tmp_path: Path) -> None:
    project = named.copy(tmp_path)
    shutil.rmtree(project.folder / "viruses")
    fails(project, "virnucpro: error: references: viruses: cannot be read: No such file or directory; give the path of")
    (project.folder / "viruses").mkdir()
    (project.folder / "viruses" / "a.fa").write_text("ACGT\n")
    fails(project, "virnucpro: error: viruses/a.fa: not FASTA: it starts with 'ACGT'")
    (project.folder / "viruses" / "a.fa").rename(project.folder / "viruses" / "{a}.fa")
    fails(project, "virnucpro: error: viruses/{a}.fa: Snakemake would replace the {a} in this path")


@pytest.mark.parametrize("copied", [True, False])
def test_results_without_what_snakemake_has_noted_are_refused(finished: Project, tmp_path: Path, copied: bool) -> None:
    project = finished.copy(tmp_path)
    shutil.rmtree(project.folder / ".snakemake")
    before = content(project.results)
    for arguments in ([], ["-n"], ["--touch"]):
        done = project.run(*arguments)
        assert done.returncode == 1
        (line,) = (line for line in done.stderr.splitlines() if "virnucpro: error" in line)
        assert re.search(r"would be overwritten, but .* does not know that a run from here made it\. .*--force", line)
        assert "Traceback" not in done.stderr
    assert content(project.results) == before
    if copied:
        shutil.copytree(finished.folder / ".snakemake", project.folder / ".snakemake", dirs_exist_ok=True)
        assert project.planned() == {}
    else:
        shutil.rmtree(project.results)
        project.complete()
        assert results(project) == results(finished)


@pytest.mark.parametrize(
    "change",
    [{"device": "cpu"}, {"compile": True}, {"precision": "float32"}, {"seed": 7}, {"layers": [2]}],
    ids=str,
)
def test_what_changes_no_result_runs_nothing(project: Project, change: dict[str, Any]) -> None:
    project.config = dict(reversed((project.config | change).items()))  # nor does the order of keys
    assert project.planned() == {}


def test_a_raised_version_of_a_stage_runs_it_and_what_follows(project: Project) -> None:
    copy = project.folder / "another"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(".*", "tests", "docs", "benchmarks"))
    project.write()
    command = [word.replace(str(ROOT), str(copy)) for word in project.command("-n")]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}

    def run_with(module: str, line: str, change: str) -> set[str]:
        path = copy / "virnucpro" / module
        text = path.read_text()
        assert line in text
        path.write_text(text.replace(line, change))
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        path.write_text(text)
        assert done.returncode == 0, done.stderr
        return set(re.findall(r"^([a-z_]+) +[0-9]+$", done.stdout, re.M)) - {"all", "total"}

    assert run_with("__init__.py", '__version__ = "', '__version__ = "9.') == set()
    assert run_with("run/plan.py", f'"call": {VERSIONS["call"]}', '"call": 99') == set(CALLED)
    assert run_with("run/plan.py", f'"embed": {VERSIONS["embed"]}', '"embed": 99') == {"embed", "merge", *CALLED}


def test_a_start_on_finished_results_reads_none_and_no_fasta_twice(project: Project) -> None:
    project.write()
    command = ["sh", "-c", '"$@" >&2; cat /proc/$$/io', "sh", *project.command("-n")]

    def megabytes_read() -> float:
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        assert "Nothing to be done" in done.stderr or "gut" in (project.folder / "samples.tsv").read_text()
        return int(re.findall(r"rchar: (\d+)", done.stdout)[0]) / 1e6

    baseline = megabytes_read()
    for path in (project.results / "soil" / "embeddings.h5", project.results / "soil" / "genes.tsv"):
        before = path.stat()
        os.truncate(path, 50_000_000)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (project.folder / "soil.fa").touch()  # is read once
    assert abs(megabytes_read() - baseline) < 10
    project.add("gut", f">large\n{'ACGT' * 13_000_000}\n")
    assert megabytes_read() - baseline > 50
    assert abs(megabytes_read() - baseline) < 10


ALL = Counter({"prepare": 1, "embed": 2, "merge": 1, "summary": 1})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"proteins": "genes"}, ALL),
        ({"chunk_size": 400}, ALL),
        ({"short_chunks": [100]}, ALL),
        ({"genetic_codes": [1, 4]}, ALL),
        ({"layers": [1]}, ALL + Counter(["fetch_model", "token_budget"])),
        ({"max_sequence_length": 100}, ALL),
        ({"long_proteins": "cut"}, ALL),
        ({"shard_tokens": 100_000}, ALL - Counter(["embed"])),
        ({"per_residue": True}, ALL - Counter(["prepare"])),
        ({"token_budget": 2048}, ALL + Counter(["token_budget"])),
        ({"precision": "bfloat16"}, ALL + Counter(["token_budget"])),
        ({"model": "other.pt"}, ALL + Counter(["fetch_model", "token_budget"])),
    ],
    ids=str,
)
def test_what_changes_results_runs_what_depends_on_it(
    uncalled: Project, tmp_path: Path, change: dict[str, Any], expected: Counter[str]
) -> None:
    project = uncalled.copy(tmp_path)
    project.config |= change
    shutil.copy(project.folder / "tiny.pt", project.folder / "other.pt")
    assert project.planned() == expected


def test_what_a_kill_left_is_gone_after_the_next_run_and_no_file_of_others(project: Project) -> None:
    hidden = {"logs", "manifests"}  # the folder of manifests is an output as a whole
    files = [path for path in project.results.rglob("[!.]*") if path.is_file() and not hidden & {*path.parts}]
    files.remove(project.work / "run.lock")
    assert len(files) > 40
    left = [path.parent / f".{path.name}.virnucpro-x1y2z3" for path in files]
    swap = [path.parent / f".{path.name}.swp" for path in files]
    for folder in left:
        folder.mkdir()
        (folder / "half").write_text("written")
    for path in swap:
        path.write_text("of an editor")
    assert project.complete("--forceall")["prepare"] == 2
    assert [folder for folder in left if folder.exists()] == []
    assert [path for path in swap if not path.exists()] == []


def test_call_by_hand_refuses_other_contigs_of_the_same_names(project: Project) -> None:
    fasta = project.folder / "soil.fa"
    fasta.write_text(fasta.read_text().replace("A", "T"))
    before = content(project.results)
    command = ["python", "-P", str(ROOT / "virnucpro" / "__main__.py"), "call", "soil.fa", "out/work/soil", "out/soil"]
    command += ["--classifier", "tiny.safetensors"]
    done = subprocess.run(command, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 1
    message = "soil.fa: not the file that out/work/soil/prepared was made from; run the prepare stage again"
    assert done.stderr == f"virnucpro call: error: {message}\n"
    assert content(project.results) == before
