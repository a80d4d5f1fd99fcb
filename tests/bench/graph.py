"""Builds our graph and hnswlib's over the same rows, alternately, and prints the ratio of times.

    python3 -m venv venv && venv/bin/pip install hnswlib numpy
    venv/bin/python tests/bench/graph.py INDEX/gen-N/dense/rows.bin THREADS ROUNDS

Same M (16), efConstruction (200) and threads; recall@10 of 200 of the rows themselves at ef 100, against exact search.
"""
import statistics, subprocess, sys, time
import hnswlib, numpy as np

path, threads, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
header = np.fromfile(path, dtype="<u8", count=8)
n, d = int(header[3]), int(header[4])
rows = np.fromfile(path, dtype="<f4", offset=64)[: n * d].reshape(n, d)
step = max(1, n // 200)
sample = rows[::step]
exact = np.argsort(-(sample @ rows.T), axis=1, kind="stable")[:, :10]


def theirs():
    index = hnswlib.Index(space="ip", dim=d)
    index.init_index(max_elements=n, M=16, ef_construction=200, random_seed=1)
    index.set_num_threads(threads)
    start = time.perf_counter()
    index.add_items(rows)
    seconds = time.perf_counter() - start
    index.set_ef(100)
    found, _ = index.knn_query(sample, k=10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact)])
    return seconds, recall


def ours():
    command = ["cargo", "bench", "--quiet", "--bench", "graph", "--", path, str(threads)]
    words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(words[1]), float(words[3])


ratios = []
for i in range(rounds):
    (a, recall_a), (b, recall_b) = ours(), theirs()
    ratios.append(a / b)
    print(f"round {i + 1}: ours {a:.1f} s recall {recall_a:.4f}, hnswlib {b:.1f} s recall {recall_b:.4f}, ratio {a / b:.2f}", flush=True)
print(f"{n} rows of {d}, {threads} threads: median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
