"""Feed damaged real files to every reader of the package; only a result or a UserError may come out.

Each case is a seed file, mutated by bytes, tokens or structure. It runs in a forked process that is watched: no other
exception, no crash, at most 10 s of CPU, at most 2 GB of memory, no file outside its folder, no program, no network.
The first file of each fault is saved in fuzz_failures/TARGET. `--input FILE` runs it again; `--seed` makes the same
cases. fuzz_targets.py has the readers and their files, fuzz_changes.py the changes.
"""

import argparse
import logging
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the targets take seeds from tests/
from common import RESULTS, write_result  # noqa: E402
from fuzz_changes import compress, mutate_bytes, mutate_tokens  # noqa: E402
from fuzz_targets import TARGETS, Target  # noqa: E402

from virnucpro.errors import UserError  # noqa: E402

SECONDS = 10  # CPU time of a case
MEMORY = 2 << 30  # bytes of a process
FAILURES = ROOT / "fuzz_failures"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate")
touched: list[str] = []  # what a case did outside its folder


def watch(folder: Path) -> None:
    """Note from now on, for this process, changes outside a folder, programs and connections."""

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            touched.append(f"{event} {values!r:.200}")
        elif event in CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & WRITES):
            is_path = isinstance(values[0], str | bytes | os.PathLike)  # not the number of an open file
            path = os.path.abspath(os.fsdecode(values[0])) if is_path else os.devnull  # noqa: PTH100
            if path != os.devnull and not path.startswith(f"{folder}/"):
                touched.append(f"{event} {path}")

    sys.addaudithook(hook)


def make_case(target: Target, rng: random.Random) -> tuple[str, bytes]:
    """Return the name and the content of a damaged file."""
    name, content = rng.choice(target.seeds)
    how = rng.randrange(4)
    if how == 0 and target.change:
        content = target.change(rng, content)
    elif how == 1:
        content = mutate_bytes(rng, content)
    elif how == 2:
        content = mutate_tokens(rng, content)
    elif target.change and rng.random() < 0.5:
        content = target.change(rng, content)
        content = mutate_bytes(rng, content)
    else:
        content = mutate_bytes(rng, mutate_tokens(rng, content))
    if target.compressed and rng.random() < 0.6:
        content = compress(rng, content)
        content = mutate_bytes(rng, content) if rng.random() < 0.5 else content
    return name, content


def judge(target: Target, path: Path) -> tuple[str, str]:
    """Run a reader on a file; return `read`, `refused` or the name of a fault, and its traceback."""
    touched.clear()
    before = set(path.parent.parent.iterdir())
    try:
        target.check(path)
        outcome, details = "read", ""
    except UserError as error:
        outcome, details = "refused", str(error)
        if "\n" in details:
            outcome = "a message of several lines"
    except BaseException as error:
        details = traceback.format_exc()
        ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/virnucpro/" in frame.filename]
        where = f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].name}" if ours else "fuzz.py"
        outcome = f"{type(error).__name__} in {where}"
    if touched or set(path.parent.parent.iterdir()) != before:
        return f"touched {touched[:1]}", details
    if (peak := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) > MEMORY:
        return f"used {peak / 1e9:.1f} GB", details
    return outcome, details


def work(target: Target, seed: int, first: int, end: float, folder: Path, connection: Connection) -> None:
    """Run cases until the time is over, and send the outcome of each; runs in a forked process."""
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MEMORY, 2 * MEMORY))  # protects the machine
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for stream in (1, 2):  # HDF5 and Biopython print
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.chdir(folder)
    watch(folder)
    number = first
    while time.monotonic() < end:
        name, content = make_case(target, random.Random(f"{seed} {target.name} {number}"))
        case = folder / str(number)
        case.mkdir()
        (case / name).write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process, even inside C code
        outcome = judge(target, case / name)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send((number, *outcome))
        for path in case.iterdir():
            path.unlink()
        case.rmdir()
        number += 1
    connection.send((number, "end", ""))


def run_target(target: Target, seed: int, first: int, seconds: float, outcomes: Counter[str]) -> int:
    """Run cases of a target for some seconds, and count outcomes; save new faults. Return the next case."""
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as folder:
            receiver, sender = multiprocessing.Pipe(duplex=False)
            fork = multiprocessing.get_context("fork")
            worker = fork.Process(target=work, args=(target, seed, number, end, Path(folder), sender))
            worker.start()
            sender.close()
            alive = True
            while alive:
                try:
                    number, outcome, details = receiver.recv() if receiver.poll(10 * SECONDS) else (number, "hung", "")
                    alive = outcome not in ("hung", "end")
                except EOFError:  # the process of this case was ended, by its limits or by a crash
                    worker.join()
                    code = worker.exitcode or 0
                    alive, outcome, details = False, f"ended by {signal.Signals(-code).name if code < 0 else code}", ""
                if outcome == "end":
                    break
                outcomes[outcome] += 1
                if outcome not in ("read", "refused") and outcomes[outcome] == 1:
                    save(target, seed, number, outcome, details)
                number += 1
            worker.kill()
            worker.join()
    return number


def save(target: Target, seed: int, number: int, outcome: str, details: str) -> None:
    """Print a fault, and save its file."""
    name, content = make_case(target, random.Random(f"{seed} {target.name} {number}"))
    folder = FAILURES / target.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}-{number}-{name}").write_bytes(content)
    print(f"{target.name} case {number}: {outcome}: {folder}/{seed}-{number}-{name}\n{details}", flush=True)


def main() -> None:
    """Fuzz every target in turn, and write results/fuzz.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--target", choices=TARGETS, help="fuzz one target, without a table")
    parser.add_argument("--input", type=Path, help="run a saved file again; its folder names the target")
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    if options.input:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        sys.exit(": ".join(judge(TARGETS[options.input.parent.name], options.input.absolute())))
    print(f"seed {options.seed}", flush=True)
    names = [options.target] if options.target else list(TARGETS)
    numbers, outcomes = dict.fromkeys(names, 0), {name: Counter[str]() for name in names}
    start = time.monotonic()
    while (left := options.minutes * 60 - (time.monotonic() - start)) > 1:
        for name in names:  # in rounds, so that every target has cases whenever it is stopped
            seconds = min(left / len(names), 20)
            numbers[name] = run_target(TARGETS[name], options.seed, numbers[name], seconds, outcomes[name])
    minutes = (time.monotonic() - start) / 60
    rows: list[tuple[str, ...]] = []
    for name, of in outcomes.items():
        faults = [f"{outcome} ({count})" for outcome, count in of.items() if outcome not in ("read", "refused")]
        rows.append((name, f"{of.total():,}", f"{of['refused']:,}", f"{of['read']:,}", "; ".join(faults) or "none"))
    cases = sum(of.total() for of in outcomes.values())
    note = f"{date.today()}, seed {options.seed}, {minutes:.1f} minutes on one core, {cases:,} cases."
    if options.target:
        print(note, rows)
    else:
        results = RESULTS / "fuzz.md"
        _, mark, history = results.read_text().partition("\n## ")  # written by hand
        write_result("fuzz", "Damaged files", ("target", "cases", "refused", "read", "faults"), rows, note)
        results.write_text(results.read_text() + mark + history)
    sys.exit(any(row[-1] != "none" for row in rows))


if __name__ == "__main__":
    main()
