"""Our graph beside hnswlib, usearch and faiss, alternately, over the same rows: how fast it is built and searched.

    python3 -m venv venv && venv/bin/pip install hnswlib usearch faiss-cpu numpy
    parallax build-index $DATA/enwiki-passages/corpus.jsonl.gz --name wiki
    cargo bench --bench graph -- queries indexes/wiki $DATA/squad/dev-v1.1.json.gz questions.f32
    venv/bin/python tests/bench/graph.py search indexes/wiki/gen-1/dense/rows.bin questions.f32 ROUNDS
    venv/bin/python tests/bench/graph.py build indexes/wiki/gen-1/dense/rows.bin THREADS ROUNDS [hnsw-rs]

M is 16 and efConstruction 200 everywhere. `search` asks 1,000 of the questions on one pinned core, each library with the
beams below, and reads questions a second at recall@10 = .95 and .99 (against exact search by numpy) off the line between
the two beams about it. Ours runs with f32 rows, and with int8 rows whose best are scored again from f32. `build` with
`hnsw-rs` also runs that crate, with all threads and our inner product.
"""
import os, re, statistics, subprocess, sys, tempfile, time
import numpy as np

BEAMS = [64, 96, 128, 192, 256, 384, 512, 768, 1152]
LEVELS = [0.95, 0.99]


def read_rows(path):
    header = np.fromfile(path, dtype="<u8", count=8)
    n, d = int(header[3]), int(header[4])
    return np.fromfile(path, dtype="<f4", offset=64)[: n * d].reshape(n, d)


def bench():
    """The compiled benchmark, so that cargo's own start is not waited for each time."""
    command = ["cargo", "bench", "--bench", "graph", "--no-run"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return re.search(r"\((\S*graph-\S+)\)", told).group(1)


def hnswlib_index(rows, threads):
    import hnswlib

    index = hnswlib.Index(space="ip", dim=rows.shape[1])
    index.init_index(max_elements=len(rows), M=16, ef_construction=200, random_seed=1)
    index.set_num_threads(threads)
    index.add_items(rows)

    def ask(queries, ef):
        index.set_num_threads(1)
        index.set_ef(ef)
        return index.knn_query(queries, k=10)[0]

    return ask


def usearch_index(rows, threads):
    from usearch.index import Index

    index = Index(ndim=rows.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=200)
    index.add(np.arange(len(rows)), rows, threads=threads)

    def ask(queries, ef):
        index.expansion_search = ef
        return index.search(queries, 10, threads=1).keys

    return ask


def faiss_index(rows, threads):
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(rows.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(rows)

    def ask(queries, ef):
        faiss.omp_set_num_threads(1)
        index.hnsw.efSearch = ef
        return index.search(queries, 10)[1]

    return ask


PEERS = {"hnswlib": hnswlib_index, "usearch": usearch_index, "faiss": faiss_index}


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def speed_at(level, recalls, speeds):
    """Queries a second at a recall, between the two beams about it; logarithmic in speed."""
    for i in range(1, len(recalls)):
        if recalls[i - 1] <= level <= recalls[i]:
            share = (level - recalls[i - 1]) / max(recalls[i] - recalls[i - 1], 1e-12)
            return float(np.exp((1 - share) * np.log(speeds[i - 1]) + share * np.log(speeds[i])))
    return float("nan")


def search(path, questions, rounds):
    rows = read_rows(path)
    queries = np.fromfile(questions, dtype="<f4").reshape(-1, rows.shape[1])
    queries = np.ascontiguousarray(queries[:: max(1, len(queries) // 1000)][:1000])
    exact = [set(np.argpartition(-(rows @ query), 10)[:10]) for query in queries]
    recall = lambda found: float(np.mean([len(best & set(map(int, row))) / 10 for best, row in zip(exact, found)]))
    program = bench()
    with tempfile.TemporaryDirectory() as folder:
        asked = os.path.join(folder, "questions.f32")
        queries.tofile(asked)
        systems = {}
        for vectors in ["f32", "int8"]:
            own = os.path.join(folder, vectors)
            told = subprocess.run([program, "build", path, "2", "parallax", vectors, own], check=True, capture_output=True, text=True)
            print(f"ours {vectors}: {told.stdout.strip()}", flush=True)

            def ours(own=own):
                found = os.path.join(folder, "found")
                command = [program, "search", own, asked, found, *map(str, BEAMS)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                rankings = np.fromfile(found, dtype="<u4").reshape(len(BEAMS), len(queries), 10)
                seconds = [float(line.split()[1]) for line in told.splitlines()]
                return [recall(found) for found in rankings], [len(queries) / s for s in seconds]

            systems[f"ours {vectors}"] = ours
        for name, build in PEERS.items():
            ask = build(rows, 2)

            def theirs(ask=ask):
                ask(queries, 200)
                recalls, speeds = [], []
                for ef in BEAMS:
                    start = time.perf_counter()
                    found = ask(queries, ef)
                    speeds.append(len(queries) / (time.perf_counter() - start))
                    recalls.append(recall(found))
                return recalls, speeds

            systems[name] = theirs
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        ratios = {}
        for i in range(rounds):
            at = {}
            for name, ask in systems.items():
                recalls, speeds = ask()
                at[name] = [speed_at(level, recalls, speeds) for level in LEVELS]
                if i == 0:
                    sweep = "  ".join(f"{ef}: {r:.4f} {s:.0f}" for ef, r, s in zip(BEAMS, recalls, speeds))
                    print(f"{name:<10} beam: recall@10 and questions/s   {sweep}", flush=True)
            for j, level in enumerate(LEVELS):
                told = "  ".join(f"{name} {speeds[j]:.0f}" for name, speeds in at.items())
                print(f"round {i + 1}, questions/s at {level}: {told}", flush=True)
                best = max(at[name][j] for name in PEERS)
                for own in ["ours f32", "ours int8"]:
                    for name, speed in [*((name, at[name][j]) for name in PEERS), ("the best of them", best)]:
                        ratios.setdefault((level, own, name), []).append(at[own][j] / speed)
        for (level, own, name), values in ratios.items():
            print(f"recall@10 {level}: {own} over {name}: {spread(values)}")
        print(f"{len(rows)} rows of {rows.shape[1]}, {len(queries)} questions, one core")


def build(path, threads, rounds, others):
    rows = read_rows(path)
    program = bench()

    def ours(builder, vectors="f32"):
        command = [program, "build", path, str(threads), builder, *([vectors] if builder == "parallax" else [])]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1])

    def theirs(make):
        start = time.perf_counter()
        make(rows, threads)
        return time.perf_counter() - start

    systems = {"ours f32": lambda: ours("parallax"), "ours int8": lambda: ours("parallax", "int8")}
    systems |= {name: (lambda make=make: theirs(make)) for name, make in PEERS.items()}
    if "hnsw-rs" in others:
        systems["hnsw_rs"] = lambda: ours("hnsw-rs-parallel")
    ratios = {}
    for i in range(rounds):
        seconds = {name: run() for name, run in systems.items()}
        print(f"round {i + 1}, seconds: " + "  ".join(f"{name} {s:.1f}" for name, s in seconds.items()), flush=True)
        for name in systems:
            for own in ["ours f32", "ours int8"]:
                if not name.startswith("ours"):
                    ratios.setdefault((own, name), []).append(seconds[name] / seconds[own])
    for (own, name), values in ratios.items():
        print(f"{own} over {name}, speed: {spread(values)}")
    print(f"{len(rows)} rows of {rows.shape[1]}, {threads} threads")


if sys.argv[1] == "search":
    search(sys.argv[2], sys.argv[3], int(sys.argv[4]))
else:
    build(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
