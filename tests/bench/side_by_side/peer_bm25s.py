"""bm25s with numba as a worker: TERMS PASSAGES K K1 B. All questions in one call, which is its fastest way."""
import sys
import time

import bm25s
from worker import serve

terms, passages, k = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(terms) as file:
    lines = [line.split() for line in file]
questions = lines[passages:]
engine = bm25s.BM25(method="lucene", k1=float(sys.argv[4]), b=float(sys.argv[5]), backend="numba")
engine.index(lines[:passages], show_progress=False)
engine.activate_numba_scorer()


def ask(k):
    return engine.retrieve(questions, k=k, show_progress=False, n_threads=1)[0]


def search():
    started = time.perf_counter()
    ask(k)
    return [time.perf_counter() - started]


def top(file):
    with open(file, "w") as out:
        out.writelines(" ".join(map(str, best)) + "\n" for best in ask(10).tolist())
    return [len(questions)]


serve({"search": search, "top": top})
