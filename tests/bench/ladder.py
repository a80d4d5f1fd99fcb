"""Pools the seeds of ladder.sh: python3 tests/bench/ladder.py OUT

Each question's value is its mean over the seeds; differences to `in-batch` are paired over the questions, with a
percentile bootstrap of 2,000 resamples. Reads the JSON reports that ladder.sh left (seed-N.json).
"""
import json, random, sys
from pathlib import Path

rungs = ["start", "in-batch", "random", "bm25", "filtered", "second"]
reports = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("seed-*.json"))]
print(f"{len(reports)} seeds")
for measure in reports[0]["systems"][0]["measures"]:
    pooled = []
    for place in range(len(rungs)):
        seeds = [report["systems"][place]["per_query"] for report in reports]
        pooled.append([sum(seed[query][measure] for seed in seeds) / len(seeds) for query in seeds[0]])
    for name, values in zip(rungs, pooled):
        differences = [a - b for a, b in zip(values, pooled[1])]
        draw, n = random.Random(1), len(differences)
        means = sorted(sum(draw.choices(differences, k=n)) / n for _ in range(2000))
        mean = sum(differences) / n
        print(f"{measure:8} {name:9} {sum(values) / n:.4f}  {mean:+.4f} [{means[50]:+.4f}, {means[1949]:+.4f}]")
