"""The screen on a simulated terminal, and in a file."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest

from tests.conftest import ROOT
from tests.run.conftest import ENVIRONMENT, Folder
from tests.run.events import Events, make_progress, write_packed
from virnucpro.data.files import write_text
from virnucpro.errors import UserError, printable
from virnucpro.run.screen import clock, show_paths

# A run of many samples that continues at each line of input.
SHOW = """
import sys
from contextlib import closing
from pathlib import Path
from tests.run.events import Events, make_progress, write_packed
from virnucpro.run.progress import Message
from virnucpro.run.screen import Screen
samples = int(sys.argv[2])
progress = make_progress(Path(sys.argv[1]), samples)
events = Events(progress)
with closing(Screen(progress, "results")) as screen:
    screen.refresh()
    events.plan(prepare=samples, embed=2 * samples, merge=samples, summary=1)
    jobs = [events.start("prepare", sample=f"s{number}") for number in range(samples)]
    for job in jobs[: (samples + 1) // 2]:
        events.finish(job)
    progress._say("warning: soil: " + "a long warning that takes more than one line " * 3 + "\\x1b[2J")
    progress._say("warning: soil: once")
    progress._say("warning: soil: once")
    screen.refresh()
    for line in sys.stdin:
        screen.refresh()
    for job in jobs[(samples + 1) // 2 :]:
        events.finish(job)
    progress._say("prepare failed: ../x", is_error=True)
    screen.refresh()
print("the end")
"""


class Terminal:
    """A terminal with a process in it, and what it shows."""

    def __init__(self, command: list[str], columns: int, environment: dict[str, str], folder: Path = ROOT) -> None:
        self.screen = pyte.Screen(columns, 40)
        self.stream = pyte.ByteStream(self.screen)
        self.written = b""
        self.process, self.descriptor = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execvpe(command[0], command, environment)
        self.resize(columns)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.screen.resize(40, columns)

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait_for(self, text: str, seconds: float = 600) -> None:
        """Read until a text was written."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.written:
            assert time.monotonic() < deadline, self.written.decode()
            assert self._read(), self.written.decode()

    def finish(self) -> int:
        """Read to the end, and return the exit status."""
        while self._read():
            pass
        os.close(self.descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def _read(self) -> bytes:
        try:
            read = os.read(self.descriptor, 100_000)
        except OSError:  # as Linux says that the process has ended
            return b""
        self.written += read
        self.stream.feed(read)
        return read


def show(folder: Path, columns: int, samples: int = 2, **environment: str) -> Terminal:
    command = [sys.executable, "-c", SHOW, str(folder), str(samples)]
    return Terminal(command, columns, {"TERM": "xterm-256color"} | ENVIRONMENT | environment)


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("samples", [1, 100])
def test_one_display_with_messages_above(tmp_path: Path, columns: int, samples: int) -> None:
    terminal = show(tmp_path, columns, samples)
    terminal.wait_for("the time left")
    shown = terminal.lines()
    stages = [line.split()[0] for line in shown[-5:-1]]
    assert stages == ["prepare", "embed", "merge", "summary"]
    noun = "sample" if samples == 1 else "samples"
    assert shown[-5].endswith(f"{(samples + 1) // 2} of {samples} {noun}" + (", 50 running" if samples > 1 else ""))
    assert shown[-4].endswith(f" 0 of about {100 * samples:,} residues")
    assert re.fullmatch(r"0:00:\d\d so far, measuring the time left", shown[-1])
    assert sum("once" in line for line in shown) == 1
    assert shown[0].startswith("warning: soil: a long warning")
    assert any("?[2J" in line for line in shown)
    terminal.type("\n\x04")
    assert terminal.finish() == 0
    shown = terminal.lines()
    assert shown[-1] == "the end"
    assert [line.split()[0] for line in shown[-6:-2]] == stages, "the display is there once, below the messages"
    assert "prepare failed: results/x" in shown
    assert all(len(line) < 79 for line in shown[-7:-1]), "or it would be wrapped when the terminal gets narrower"


def test_a_terminal_that_is_resized(tmp_path: Path) -> None:
    terminal = show(tmp_path, 200)
    terminal.wait_for("the time left")
    for columns in (80, 120, 79):
        terminal.resize(columns)
        before = len(terminal.written)
        terminal.type("\n")
        while len(terminal.written) == before or not terminal.written.endswith(b"left"):
            terminal._read()
    terminal.type("\x04")
    assert terminal.finish() == 0
    assert sum(line.startswith("summary") for line in terminal.lines()) == 1


def test_no_color(tmp_path: Path) -> None:
    colors = []
    for environment in ({}, {"NO_COLOR": "1"}):
        terminal = show(tmp_path, 80, **environment)
        terminal.wait_for("the time left")
        terminal.type("\n\x04")
        assert terminal.finish() == 0
        colors.append(bool(re.search(rb"\x1b\[[\d;]*[34]\d", terminal.written)))
    assert colors == [True, False]
    assert sum(line.startswith("summary") for line in terminal.lines()) == 1


def test_a_terminal_that_cannot_move_its_cursor(tmp_path: Path) -> None:
    terminal = show(tmp_path, 80, TERM="dumb")
    terminal.wait_for("once")
    terminal.type("\n\x04")
    assert terminal.finish() == 0
    assert b"\x1b" not in terminal.written
    assert "prepare: 2 of 2 samples" in terminal.written.decode()


def test_a_file_has_no_control_characters(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHOW, str(tmp_path), "2"]
    environment = ENVIRONMENT | {"FORCE_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert [line[:24] for line in done.stderr.splitlines()] == [
        "warning: soil: a long wa",
        "warning: soil: once",
        "prepare failed: results/",
        "prepare: 2 of 2 samples,",
    ]
    assert done.stderr.replace("\n", "").isprintable()


def test_long_stages_say_so_once_a_minute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from virnucpro.run.screen import QUIET_SECONDS, Screen

    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=2, embed=4)
    screen = Screen(progress, "")
    for number in range(2):
        events.start("prepare", sample=f"s{number}")
    for _ in range(3):
        screen.refresh()
    assert capsys.readouterr().err == ""
    screen._reported["prepare"] -= QUIET_SECONDS
    for _ in range(3):
        screen.refresh()
    assert re.fullmatch(r"prepare: 0 of 2 samples, 2 running; [^\n]+ so far, [^\n]+\n", capsys.readouterr().err)


def test_ctrl_c_on_a_terminal(folder: Folder) -> None:
    folder.add_proteins("p.faa")
    environment = {"TERM": "xterm"} | folder.environment
    terminal = Terminal(folder.command("p.faa", "--type", "proteins"), 80, environment, folder.path)
    terminal.wait_for("running")
    terminal.type("\x03")
    assert terminal.finish() == 128 + signal.SIGINT
    assert terminal.lines()[-1] == "stopped by Ctrl-C; run the same command again to resume"
    assert not folder.processes()
    assert b"\x1b[?25h" in terminal.written, "the cursor is there again"


def test_what_would_steer_a_terminal_is_taken_out() -> None:
    assert printable("a\x1b[31mb\x07\u202ec\n") == "a?[31mb??c?"
    assert printable("mañana 日本") == "mañana 日本"
    assert str(UserError("a\nb: no such file")) == "a?b: no such file"


def test_paths_begin_as_the_user_named_their_folder() -> None:
    assert show_paths("../x, (../y) and /a/../b", "out") == "out/x, (out/y) and /a/../b"


def test_embedding_is_shown_in_letters(tmp_path: Path) -> None:
    from virnucpro.run.screen import Screen

    progress = make_progress(tmp_path)
    events = Events(progress)
    events.plan(prepare=2, embed=4)
    screen = Screen(progress, "")
    for sample in ("s0", "s1"):
        job = events.start("prepare", sample=sample)
        assert screen._count(progress.stages["embed"]) == "0 of about 200 residues", "not all are prepared"
        write_packed(progress, sample, 25, 75)
        write_text(progress.plan.work / sample / "prepared" / "records.tsv", "record\n" + 3 * "p\n")
        events.finish(job)
    log = tmp_path / "embed.log"
    events.start("embed", log, sample="s0", shard="0002")
    log.write_text("virnucpro: embed: s0 0002: 30 of 75 tokens, 9 tokens/s, 0:00:05 left\n")
    progress.read_logs()
    assert screen._count(progress.stages["embed"]) == "30 of about 200 residues in 6 proteins, 1 running"
    assert screen._share(progress.stages["embed"]) == 0.15


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0.4, 61, 3600 * 30)] == ["0:00:00", "0:01:01", "1 day, 6:00:00"]
