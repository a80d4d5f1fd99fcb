"""BM25, the best 100 of 104,404 passages, on one thread: ours, tantivy's own search, bm25s and Lucene.

All four have the same terms (ours, written down) and k1 1.2, b .75. bm25s has all questions in one call and their terms
at hand; ours, one question at a time and all in one call, and tantivy cut each question into terms themselves; Lucene
splits at spaces.
"""
import os, shutil, sys, tempfile
from pathlib import Path

from collection import SQUAD_DEV, index
from worker import HERE, Worker, bench, compare

PASSAGES, QUESTIONS, K = 104_404, 2_000, 100


def overlap(ours, theirs):
    """The mean share of our ten best that is among theirs."""
    lists = [[set(line.split()) for line in Path(file).read_text().splitlines()] for file in (ours, theirs)]
    return sum(len(a & b) / max(1, len(a)) for a, b in zip(*lists)) / len(lists[0])


def run(data, out, rounds):
    place = index(data, out, "en104k")
    scratch = Path(tempfile.mkdtemp(dir=out))
    terms = scratch / "terms"
    ours = Worker("ours", [bench("sparse"), place, data / SQUAD_DEV, QUESTIONS, K, "bm25(k1=1.2,b=.75)"])
    assert ours.ask("terms", terms)[0] == [str(PASSAGES), str(QUESTIONS)]
    peers = {"tantivy": ours, "bm25s": Worker("bm25s", [sys.executable, HERE / "peer_bm25s.py", terms, PASSAGES, K, 1.2, 0.75])}
    if jar := os.environ.get("LUCENE_JAR"):
        java = ["java", "-cp", jar, HERE / "Lucene.java", terms, PASSAGES, K, scratch / "lucene", 1.2, 0.75]
        peers["Lucene"] = Worker("Lucene", java)
    else:
        print("left out: Lucene (LUCENE_JAR is not set)")
    try:
        ours.ask("top ours", scratch / "ours")
        for name, peer in peers.items():
            peer.ask("top tantivy" if peer is ours else "top", scratch / name)
            share = overlap(scratch / "ours", scratch / name)
            print(f"{name}: {share:.4f} of our ten best are among its ten")
            assert share > 0.95, "not the same search"
            command = "tantivy" if peer is ours else "search"
            compare(f"BM25 top-100, over {name}", lambda: ours.ask("ours"), lambda: peer.ask(command), rounds)
            if name == "bm25s":
                compare("the same, all questions in one call", lambda: ours.ask("together"), lambda: peer.ask(command), rounds)
    finally:
        for worker in {ours, *peers.values()}:
            worker.close()
        shutil.rmtree(scratch)
