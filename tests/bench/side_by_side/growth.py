"""How cost grows: 1,000 to 164,413 passages, the exponent fitted, a picture, and what that says of 10 and 100 million.

The three smaller collections are English Wikipedia passages spread evenly over the whole, the largest has Korean ones beside
them. Writes tests/bench/growth.svg.
"""
import gzip, math, re, subprocess, time

from collection import ENGLISH, PARALLAX, SOURCES, SQUAD_DEV
from question import memory, peak
from worker import ROOT, bench

SIZES = {"grow1k": 1_000, "grow10k": 10_000, "en104k": 104_404, "both164k": 164_413}
COSTS = {
    "build-index, two threads (s)": "build",
    "… reading, postings, rows (s)": "sides",
    "… graph (s)": "graph",
    "peak memory of it (MB)": "build memory",
    "opening (ms)": "open",
    "sparse question (ms)": "sparse",
    "dense question (ms)": "dense",
    "hybrid question (ms)": "hybrid",
    "memory of one hybrid question (MB)": "memory",
    "sparse side on disk (MB)": "sparse bytes",
    "dense side on disk (MB)": "dense bytes",
}
DRAWN = {"build": "build", "build memory": "build memory", "sparse": "sparse question", "dense": "dense question",
         "hybrid": "hybrid question", "memory": "question's memory"}


def subset(data, out, n):
    """`n` of the English passages, evenly spread, as a file of their own."""
    file = out / f"{n}.jsonl"
    if not file.exists():
        with gzip.open(data / ENGLISH, "rt") as source:
            lines = source.readlines()
        file.write_text("".join(lines[i * len(lines) // n] for i in range(n)))
    return file


def measure(data, out, name, n):
    sources = [data / source for source in SOURCES[name]] if name in SOURCES else [subset(data, out, n)]
    command = ["/usr/bin/time", "-v", PARALLAX, "--indexes", out / "growth", "--threads", "2", "build-index", *sources,
               "--name", name, "--force"]
    started = time.perf_counter()
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    row = {"n": n, "build": time.perf_counter() - started, "build memory": peak(told)}
    row |= {"sides": stage(told, "sparse"), "graph": stage(told, "graph")}
    place = out / "growth" / name
    lines = subprocess.run(["taskset", "-c", "0", bench("query"), place, data / SQUAD_DEV, "1000"], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    for line in lines:
        words = line.split()
        row[words[0]] = float(words[2])
    row["memory"] = memory(out / "growth", name)
    # A build beside a former one leaves that standing until the next.
    newest = max(place.glob("gen-*"), key=lambda folder: int(folder.name.removeprefix("gen-")))
    for side in ("sparse", "dense"):
        row[f"{side} bytes"] = sum(f.stat().st_size for f in newest.glob(f"{side}/**/*") if f.is_file()) / 1e6
    return row


def slope(rows, key):
    """The exponent e of cost = c · n^e, by least squares on logarithms."""
    x, y = [math.log(row["n"]) for row in rows], [math.log(row[key]) for row in rows]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)


def stage(told, name):
    """The seconds that the build says a stage took."""
    found = re.search(rf"^{name}\s+[\d,]+\s+(?:(\d+) m )?([\d.]+) (ms|s)$", told, re.M)
    return (60 * int(found[1] or 0) + float(found[2]) / (1000 if found[3] == "ms" else 1)) if found else 0.0


def on_paper(row, n):
    """The costs of `n` passages out of those of a measured collection; the assumptions stand in the README."""
    times, logs = n / row["n"], math.log(n) / math.log(row["n"])
    sparse, dense = row["sparse"] * times, row["dense"] * logs
    return {
        "disk": (row["sparse bytes"] + row["dense bytes"]) * times / 1000,
        "memory": row["dense bytes"] * times / 1000,
        "hours": (row["sides"] * times + row["graph"] * times * logs) / 3600,
        "sparse": sparse, "dense": dense, "hybrid": row["hybrid"] - row["sparse"] - row["dense"] + sparse + dense,
    }


def picture(rows):
    """Each cost over its own at the smallest collection, both axes logarithmic."""
    width, height, left, top = 660, 380, 50, 30
    right, bottom = width - 190, height - 45
    most = max(rows[-1][key] / rows[0][key] for key in DRAWN)
    x = lambda n: left + (right - left) * math.log(n / rows[0]["n"]) / math.log(rows[-1]["n"] / rows[0]["n"])
    y = lambda r: bottom - (bottom - top) * math.log(max(r, 0.5) / 0.5) / math.log(2 * most)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
             f'font-size="12"><title>How cost grows with the collection</title><rect width="{width}" height="{height}" '
             'fill="#fff"/>', f'<text x="{left}" y="18">cost, as a multiple of that at {rows[0]["n"]:,} passages</text>']
    power = 1
    while power <= most:
        parts.append(f'<path d="M{left} {y(power):.1f}H{right}" stroke="#ddd"/><text x="{left - 6}" y="{y(power) + 4:.1f}" '
                     f'text-anchor="end" fill="#555">{power}</text>')
        power *= 10
    for row in rows:
        n = row["n"]
        label = f"{n // 1000}k"
        parts.append(f'<path d="M{x(n):.1f} {bottom}v5" stroke="#555"/><text x="{x(n):.1f}" y="{bottom + 18}" '
                     f'text-anchor="middle" fill="#555">{label}</text>')
    parts.append(f'<text x="{(left + right) / 2}" y="{height - 8}" text-anchor="middle">passages</text>')
    ends = sorted((y(rows[-1][key] / rows[0][key]), key) for key in DRAWN)
    colours = dict(zip(DRAWN, ("#1b6ca8", "#7a5195", "#2f8f4e", "#d1495b", "#e08e0b", "#555")))
    last = -math.inf
    for height_of, key in ends:
        line = " ".join(f"{x(row['n']):.1f},{y(row[key] / rows[0][key]):.1f}" for row in rows)
        last = max(last + 14, height_of + 4)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[key]}" stroke-width="2"/>'
                     f'<text x="{right + 8}" y="{last:.1f}" fill="{colours[key]}">{DRAWN[key]} (n^{slope(rows, key):.2f})</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def run(data, out, _):
    rows = [measure(data, out, name, n) for name, n in SIZES.items()]
    print("| passages | " + " | ".join(f"{row['n']:,}" for row in rows) + " | exponent |")
    print("|---|" + "---:|" * (len(rows) + 1))
    for label, key in COSTS.items():
        cells = [f"{row[key]:.2f}" if row[key] < 10 else f"{row[key]:.0f}" for row in rows]
        fitted = f"{slope(rows, key):.2f}" if all(row[key] > 0 for row in rows) else ""
        print(f"| {label} | {' | '.join(cells)} | {fitted} |")
    english = rows[2]
    print(f"\nbytes a passage at {english['n']:,}: sparse side {english['sparse bytes'] * 1e6 / english['n']:.0f} on disk, "
          f"dense side {english['dense bytes'] * 1e6 / english['n']:.0f}")
    for n in (10_000_000, 100_000_000):
        paper = on_paper(english, n)
        print(f"on paper, {n:,}: {paper['disk']:.0f} GB on disk, {paper['memory']:.0f} GB of it rows and graph; build "
              f"{paper['hours']:.1f} hours on two threads; one question on one thread {paper['sparse']:.0f} ms sparse, "
              f"{paper['dense']:.1f} ms dense, {paper['hybrid']:.0f} ms hybrid")
    (ROOT / "tests/bench/growth.svg").write_text(picture(rows))
