"""build-index over 104,404 passages, two threads, everything, against tantivy, model2vec and hnswlib on one thread each.

Their times are summed: tantivy reads and indexes the same file with the same fields, model2vec encodes with the same matrix
(rows compared), hnswlib builds a graph of the same rows with the same M and efConstruction.
"""
import shutil, statistics, sys, tempfile
from pathlib import Path

from collection import ENGLISH, SQUAD_DEV, index
from worker import HERE, Worker, bench, spread


def run(data, out, rounds):
    place = index(data, out, "en104k")
    scratch = Path(tempfile.mkdtemp(dir=out))
    asked = Worker("texts", [bench("query"), place, data / SQUAD_DEV, 1, "own"])
    passages = asked.ask("texts", scratch / "texts")[0][0]
    asked.close()
    ours = Worker("ours", [bench("build"), data / ENGLISH, "worker"], cores="0,1")
    tantivy = Worker("tantivy", [bench("build"), data / ENGLISH, "worker"])
    python = Worker("model2vec, hnswlib", [sys.executable, HERE / "peer_build.py", scratch / "texts", passages, place])
    ratios, stages = [], []
    try:
        for i in range(rounds):
            own, _, own_cpu = ours.ask("ours")
            parts, seconds = [tantivy.ask("tantivy"), python.ask("encode"), python.ask("graph")], list(map(float, own))
            assert float(parts[1][0][1]) > 0.999, "not the same rows"
            theirs = [float(part[0][0]) for part in parts]
            ratios.append(seconds[0] / sum(theirs))
            stages.append(seconds)
            print(f"round {i + 1}: ours {seconds[0]:.1f} s (sides {seconds[1]:.1f}, graph {seconds[2]:.1f}, weight "
                  f"{seconds[3]:.1f}); tantivy {theirs[0]:.1f} s, model2vec {theirs[1]:.1f} s, hnswlib {theirs[2]:.1f} s; "
                  f"ratio {ratios[-1]:.2f}, by processor time {own_cpu / sum(part[2] for part in parts):.2f}", flush=True)
    finally:
        for worker in (ours, tantivy, python):
            worker.close()
        shutil.rmtree(scratch)
    whole = [statistics.median(column) for column in zip(*stages)]
    shares = ", ".join(f"{name} {seconds / whole[0]:.2f}" for name, seconds in zip(("sides", "graph", "weight"), whole[1:]))
    print(f"build-index takes {spread(ratios)} of their time; of its own time: {shares}")
