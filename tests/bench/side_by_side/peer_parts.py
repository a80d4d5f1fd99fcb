"""A hybrid question out of the best parts of other libraries, as a worker: TEXTS TERMS PASSAGES INDEX.

model2vec encodes, bm25s (numba, terms at hand) gives 100 by words, hnswlib and usearch each give 100 by meaning, numpy
joins them by reciprocal rank, texts come out of a list. Rows are those of our index.
"""
import json
import sys
import time
from pathlib import Path

import bm25s
import hnswlib
import numpy as np
import static_model
from usearch.index import Index
from worker import serve

DEPTH, K, RRF = 100, 10, 60
texts_file, terms_file, passages = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(texts_file) as file:
    texts = [json.loads(line) for line in file]
with open(terms_file) as file:
    terms = [line.split() for line in file]
texts, questions = texts[:passages], texts[passages:]
words = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
words.index(terms[:passages], show_progress=False)
words.activate_numba_scorer()
terms = terms[passages:]
model = static_model.load()
rows = np.ascontiguousarray(static_model.rows(Path(sys.argv[4])))

hnsw = hnswlib.Index(space="ip", dim=rows.shape[1])
hnsw.init_index(max_elements=len(rows), M=16, ef_construction=200, random_seed=1)
hnsw.set_num_threads(1)
hnsw.add_items(rows)
used = Index(ndim=rows.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=200)
used.add(np.arange(len(rows)), rows, threads=1)


def by_hnswlib(vector):
    return hnsw.knn_query(vector, k=DEPTH)[0][0].astype(np.int64)


def by_usearch(vector):
    return used.search(vector, DEPTH, threads=1).keys.astype(np.int64)


DENSE = {"hnswlib": by_hnswlib, "usearch": by_usearch}


def widen(name, ef):
    if name == "hnswlib":
        hnsw.set_ef(ef)
    else:
        used.expansion_search = ef


def tune(name, exact, least):
    """Sets the narrowest beam whose 100 hold the share `least` of the exact 100; gives beam and share."""
    with open(exact) as file:
        wanted = [set(map(int, line.split())) for line in file][:300]
    vectors = model.encode(questions[:len(wanted)])
    for ef in (100, 150, 200, 250, 300, 350, 400, 450, 500, 550, 600, 700, 800, 1000):
        widen(name, ef)
        share = np.mean([len(want & set(DENSE[name](v).tolist())) / DEPTH for want, v in zip(wanted, vectors)])
        if share >= float(least):
            break
    return [ef, share]


def hybrid(name, question, query_terms):
    vector = model.encode([question])[0]
    sparse = words.retrieve([query_terms], k=DEPTH, show_progress=False, n_threads=1)[0][0]
    dense = DENSE[name](vector)
    found, place = np.unique(np.concatenate([sparse, dense]), return_inverse=True)
    parts = 1.0 / (RRF + 1 + np.arange(DEPTH))
    scores = np.bincount(place, np.concatenate([parts, parts]))
    best = np.lexsort((found, -scores))[:K]
    return found[best], [texts[i] for i in found[best]]


def ask(name):
    seconds = []
    for question, query_terms in zip(questions, terms):
        started = time.perf_counter()
        hybrid(name, question, query_terms)
        seconds.append(time.perf_counter() - started)
    return [sum(seconds), np.median(seconds)]


def top(name, file):
    with open(file, "w") as out:
        for question, query_terms in zip(questions, terms):
            out.write(" ".join(map(str, hybrid(name, question, query_terms)[0])) + "\n")
    return [len(questions)]


serve({"tune": tune, "hybrid": ask, "top": top})
