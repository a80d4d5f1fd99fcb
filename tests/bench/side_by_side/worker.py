"""Programs that are asked in turns: started once, pinned to the same processors, one line in and one line out."""
import os, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


class Worker:
    """A program that reads commands, one a line, and answers each with one line of numbers."""

    def __init__(self, name, command, cores="0"):
        self.name = name
        self.process = subprocess.Popen(["taskset", "-c", cores, *map(str, command)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def ask(self, *words):
        """The answer, with the seconds it took and the processor seconds of all of the program's threads."""
        started, cpu = time.perf_counter(), self.cpu()
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended while it was asked: {' '.join(map(str, words))}")
        return line.split(), time.perf_counter() - started, self.cpu() - cpu

    def cpu(self):
        """Seconds its threads have run on a processor; those of threads that have ended are lost."""
        nanoseconds = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                nanoseconds += int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return nanoseconds / 1e9

    def peak(self):
        """The most memory it has had in use, in MB of a million bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def serve(commands):
    """The other end, in Python: answers each line with what the command of that name returns."""
    for line in sys.stdin:
        name, *words = line.split()
        print(*commands[name](*words), flush=True)


def bench(name):
    """The command that starts one of our benchmarks, built if it is not."""
    build = ["cargo", "bench", "--quiet", "--no-run", "--message-format", "json", "--bench", name]
    lines = subprocess.run(build, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    return next(line.split('"executable":"')[1].split('"')[0] for line in reversed(lines)
                if f'"name":"{name}"' in line and '"executable":"' in line)


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def compare(what, ours, theirs, rounds, warm=3, at=0):
    """Asks both in turns, after some turns that do not count; prints how many times as long as ours theirs takes.

    Each gives (answer, seconds, processor seconds); the answer's number `at` is what counts, in seconds. On a busy machine
    processor time, of everything that was asked, says more than wall time.
    """
    for _ in range(warm):
        ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    wall = [float(b[0][at]) / float(a[0][at]) for a, b in pairs]
    cpu = [b[2] / a[2] for a, b in pairs]
    own, other = (statistics.median(float(side[0][at]) for side in sides) for sides in zip(*pairs))
    print(f"{what}: theirs over ours {spread(wall)}, by processor time {spread(cpu)}; "
          f"ours {own:.4g} s, theirs {other:.4g} s", flush=True)
    return statistics.median(wall)
