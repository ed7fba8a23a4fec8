"""Which steps must run, over three steps that read one another's files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virnucpro.data.provenance import file_state, write_provenance
from virnucpro.run.freshness import Freshness, Made, Step, settings

SETTINGS: dict[str, Any] = {"chunk_size": 500, "embedding": {"layers": [6], "precision": "float32"}}


class Chain:
    """prepare reads a FASTA file, embed what prepare wrote, and call both; all have run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fasta = folder / "contigs.fna"
        self.fasta.write_text(">a\nACGT\n")
        self.asked_for: set[str] = set()
        self.wanted = {name: SETTINGS for name in ("prepare", "embed", "call")}
        for name, reads in (("prepare", ["fasta"]), ("embed", ["prepare"]), ("call", ["prepare", "embed"])):
            self.output(name).write_text(f"of {name}\n")
            inputs = {read: file_state(self.fasta if read == "fasta" else self.output(read)) for read in reads}
            write_provenance(self.record(name), name, SETTINGS, inputs, [self.output(name)])

    def output(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def record(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def steps(self) -> tuple[Step, Step, Step]:
        prepare = Step(
            "prepare",
            self.record("prepare"),
            [self.output("prepare")],
            settings(self.wanted["prepare"]),
            outside={"fasta": self.fasta},
            is_exact=True,
        )
        prepared = Made(self.output("prepare"), prepare)
        embed = Step(
            "embed",
            self.record("embed"),
            [self.output("embed")],
            settings(self.wanted["embed"]),
            made={"prepare": prepared},
        )
        read = {"prepare": prepared, "embed": Made(self.output("embed"), embed)}
        call = Step(
            "call", self.record("call"), [self.output("call")], settings(self.wanted["call"]), made=read, is_result=True
        )
        return prepare, embed, call

    def must_run(self) -> dict[str, str]:
        """Return why steps must run, by their names."""
        freshness = Freshness(lambda: self.asked_for)
        steps = self.steps()
        freshness.add(steps)
        reasons = dict(freshness.found())
        assert {step for step in steps if freshness.must_run(step)} == set(reasons)
        return {step.name: reason.replace(f"{self.folder}/", "") for step, reason in reasons.items()}


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_nothing_where_all_is_as_it_was(chain: Chain) -> None:
    assert chain.must_run() == {}


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("prepare", {"chunk_size": 300}, {"prepare": "chunk_size was 500, is 300", "embed": "", "call": ""}),
        (
            "embed",
            {"embedding": {"layers": [5], "precision": "float32"}},
            {"embed": "layers was [6], is [5]", "call": ""},
        ),
        ("call", {"more": True}, {"call": "more was not set, is True"}),
    ],
)
def test_another_setting_and_what_follows(
    chain: Chain, name: str, change: dict[str, Any], expected: dict[str, str]
) -> None:
    chain.wanted[name] = SETTINGS | change
    assert chain.must_run() == expected


def test_settings_that_are_not_known_yet(chain: Chain) -> None:
    chain.wanted["embed"] = None  # type: ignore[assignment]
    assert chain.must_run() == {"embed": "its settings are not known yet", "call": ""}


def test_another_input(chain: Chain) -> None:
    chain.fasta.write_text(">a\nACGA\n")
    assert chain.must_run() == {"prepare": "contigs.fna changed", "embed": "", "call": ""}


def rewrite(chain: Chain, name: str) -> None:
    """Have a stage write something else, as if it had been run by hand."""
    chain.output(name).write_text("other\n")
    write_provenance(chain.record(name), name, SETTINGS, {"fasta": file_state(chain.fasta)}, [chain.output(name)])


def test_an_input_that_was_made_anew(chain: Chain) -> None:
    rewrite(chain, "prepare")
    assert chain.must_run() == {"embed": "prepare.out changed", "call": ""}


def damage(path: Path) -> None:
    path.write_text("damaged\n")


@pytest.mark.parametrize("lose", [damage, Path.unlink])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prepare", {}),  # nobody needs it any more
        ("embed", {}),
        ("call", {"call": "call.out is missing or damaged"}),
    ],
)
def test_a_lost_file_that_nothing_reads(
    chain: Chain, lose: Callable[[Path], None], name: str, expected: dict[str, str]
) -> None:
    lose(chain.output(name))
    assert chain.must_run() == expected


@pytest.mark.parametrize("lose", [damage, Path.unlink])
def test_lost_files_that_are_needed_again(chain: Chain, lose: Callable[[Path], None]) -> None:
    lose(chain.output("prepare"))
    lose(chain.output("call"))
    prepared = "prepare.out is missing or damaged"
    assert chain.must_run() == {"prepare": prepared, "call": "call.out is missing or damaged"}
    lose(chain.output("embed"))
    embedded = "embed.out is missing or damaged"
    assert chain.must_run() == {
        "prepare": prepared,
        "embed": embedded,
        "call": "call.out is missing or damaged",
    }


def test_a_lost_record(chain: Chain) -> None:
    chain.record("embed").unlink()
    assert chain.must_run() == {"embed": "it has not finished", "call": ""}
    chain.record("prepare").write_text("{")
    assert chain.must_run() == {"prepare": "it has not finished", "embed": "", "call": ""}


def test_what_another_version_wrote(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virnucpro.run.freshness.VERSION", 2)
    assert chain.must_run() == {"prepare": "another version of virnucpro made it", "embed": "", "call": ""}


def test_a_record_that_was_changed_by_hand(chain: Chain) -> None:
    record = chain.record("call")
    record.write_text(record.read_text().replace("500", "501"))
    assert chain.must_run() == {"call": "it has not finished"}


def test_what_is_asked_for(chain: Chain) -> None:
    chain.asked_for = {"embed"}
    assert chain.must_run() == {"embed": "asked for", "call": ""}
    chain.asked_for = {str(chain.output("call"))}
    assert chain.must_run() == {"call": "asked for"}


@pytest.mark.parametrize("reads", ["made", "vouched_for"])
def test_a_step_that_is_looked_at_later_needs_lost_files_and_those_before_them(chain: Chain, reads: str) -> None:
    freshness = Freshness()
    prepare, embed, call = chain.steps()
    freshness.add([prepare, embed, call])
    damage(chain.output("prepare"))
    damage(chain.output("embed"))
    embedded = Made(chain.output("embed"), embed)
    read: Any = {"made": {"embed": embedded}} if reads == "made" else {"vouched_for": [embedded]}
    summary = Step("summary", chain.record("summary"), [], settings(SETTINGS), **read)
    freshness.add([summary])
    assert [step for step, _ in freshness.found()] == [summary, embed, prepare]
    assert freshness.found() == [], "nobody is told twice"
    assert not freshness.must_run(call)
