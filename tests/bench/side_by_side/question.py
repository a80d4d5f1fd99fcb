"""A whole hybrid question on one thread over 104,404 passages, ten texts included, against the best peers' parts.

Both join 100 by words and 100 by meaning by reciprocal rank; the peers' graphs search with the narrowest beam that finds
as many of the exact 100 as ours. Then how long our index takes to open and what memory one question takes.
"""
import re, shutil, subprocess, sys, tempfile
from pathlib import Path

from collection import PARALLAX, SQUAD_DEV, index
from words import overlap
from worker import HERE, Worker, bench, compare

QUESTIONS = 1_000


def terms_of(place, data, scratch):
    worker = Worker("ours", [bench("sparse"), place, data / SQUAD_DEV, QUESTIONS, 100, "bm25"])
    worker.ask("terms", scratch / "terms")
    worker.close()
    return scratch / "terms"


def run(data, out, rounds):
    place = index(data, out, "en104k")
    scratch = Path(tempfile.mkdtemp(dir=out))
    ours = Worker("ours", [bench("query"), place, data / SQUAD_DEV, QUESTIONS, "rrf"])
    passages = ours.ask("texts", scratch / "texts")[0][0]
    peers = Worker("parts", [sys.executable, HERE / "peer_parts.py", scratch / "texts", terms_of(place, data, scratch),
                             passages, place])
    try:
        for mode in ("exact", "dense"):
            ours.ask("top", mode, 100, scratch / mode)
        found = overlap(scratch / "exact", scratch / "dense")
        ours.ask("top hybrid 10", scratch / "ours")
        print(f"ours: finds {found:.4f} of the exact 100")
        for name in ("hnswlib", "usearch"):
            (ef, share), _, _ = peers.ask("tune", name, scratch / "exact", found)
            peers.ask("top", name, scratch / name)
            same = overlap(scratch / "ours", scratch / name)
            print(f"{name}: finds {float(share):.4f} with a beam of {ef}; {same:.4f} of our ten best are among its ten")
            # Not equal: ours ranks every candidate on both sides, theirs only those that a side offered.
            assert same > 0.8, "not the same search"
            ratio = compare(f"hybrid, over model2vec + bm25s + {name}", lambda: ours.ask("hybrid"),
                            lambda: peers.ask("hybrid", name), rounds, at=1)
            print(f"ours takes {1 / ratio:.3f} of the parts' time")
    finally:
        ours.close(), peers.close()
        shutil.rmtree(scratch)
    print(subprocess.run([bench("query"), place, data / SQUAD_DEV, str(QUESTIONS)], check=True, capture_output=True,
                         text=True).stdout, end="")
    print(f"one question by the command: {memory(out / 'indexes', 'en104k'):.0f} MB, "
          "mapped files included")


def memory(indexes, name):
    """The most memory one hybrid question by the command has in use, in MB of a million bytes, mapped pages it touched included."""
    command = ["/usr/bin/time", "-v", PARALLAX, "--indexes", indexes, "--threads", "1", "query", name,
               "who first measured the speed of light"]
    return peak(subprocess.run(command, check=True, capture_output=True, text=True).stderr)


def peak(told):
    """What `time -v` says of memory, in MB of a million bytes."""
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", told)[1]) * 1024 / 1e6
