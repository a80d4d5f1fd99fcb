"""What model2vec and hnswlib do of an index, on one thread, as a worker: TEXTS PASSAGES INDEX."""
import json
import sys
import time
from pathlib import Path

import hnswlib
import numpy as np
import static_model
from worker import serve

with open(sys.argv[1]) as file:
    texts = [json.loads(line) for line in file][:int(sys.argv[2])]
rows = np.ascontiguousarray(static_model.rows(Path(sys.argv[3])))


def encode():
    started = time.perf_counter()
    # Their tokenizer has threads of its own; this process is pinned to one processor.
    found = static_model.load().encode(texts, max_length=None)
    seconds = time.perf_counter() - started
    return [seconds, float(np.sum(found * rows, axis=1).min())]


def graph():
    started = time.perf_counter()
    index = hnswlib.Index(space="ip", dim=rows.shape[1])
    index.init_index(max_elements=len(rows), M=16, ef_construction=200, random_seed=1)
    index.set_num_threads(1)
    index.add_items(rows)
    return [time.perf_counter() - started]


serve({"encode": encode, "graph": graph})
