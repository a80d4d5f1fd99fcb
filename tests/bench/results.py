"""The README's results, made and checked: python3 tests/bench/results.py DATA MINILM OUT [--write]

DATA is a folder with scifact, squad and korquad as they are published, MINILM the folder of all-MiniLM-L6-v2, OUT a folder
for indexes and reports; what is there already is not made again. For each collection and encoder it runs

    parallax build-index SOURCES --name NAME --encoder ENCODER --precision f32
    parallax compare NAME --data QUESTIONS --system SYSTEMS --baseline bm25 --report OUT/NAME.json
    parallax compare NAME --data QUESTIONS --tune-fusion OUT/NAME.fusion.json

prints the table of the README, and compares every figure with tests/bench/results.json: a mean or an end of an interval may
differ by .002, since another processor rounds otherwise. --write keeps what was found as what is expected.
"""
import json, os, subprocess, sys
from pathlib import Path

data, minilm, out = (Path(argument).resolve() for argument in sys.argv[1:4])
here = Path(__file__).resolve().parent
corpus = here.parent.parent / "corpus"
parallax = os.environ.get("PARALLAX", str(here.parent.parent / "target/release/parallax"))
out.mkdir(parents=True, exist_ok=True)
os.environ["PARALLAX_INDEXES"] = str(out / "indexes")

squad, korquad = data / "squad", data / "korquad/KorQuAD_v1.0_dev.json"
COLLECTIONS = {
    "scifact": ("SciFact test, {n} claims, 5,183 abstracts", [data / "scifact"], data / "scifact"),
    "squad": ("SQuAD dev, {n} questions, 20,958 paragraphs of train and dev",
              [squad / "train-v1.1.json.gz", squad / "dev-v1.1.json.gz"], squad / "dev-v1.1.json.gz"),
    "korquad": ("KorQuAD dev, {n} questions, 961 paragraphs", [korquad], korquad),
    "bundled": ("Bundled, {n} questions, 358 passages", [corpus / "train.json", corpus / "dev.json"], corpus / "dev.json"),
}
WORDS = ["bm25", "tfidf"]
BOTH = ["dense", "hybrid(rrf)", "hybrid"]
MEASURES = ["R@1", "R@20", "nDCG@10"]


def run(*words):
    done = subprocess.run([parallax, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"parallax {' '.join(map(str, words))}\n{done.stderr}")


def short(value):
    return f"{value:.4f}".replace("0.", ".", 1)


def signed(value):
    return f"{value:+.4f}".replace("0.", ".", 1).replace("-", "−")


found = {}
for collection, (_, sources, questions) in COLLECTIONS.items():
    for encoder, location in (("built-in", "builtin"), ("MiniLM", minilm)):
        name = collection if encoder == "built-in" else f"{collection}-minilm"
        if not (out / "indexes" / name / "CURRENT").exists():
            run("build-index", *sources, "--name", name, "--encoder", location, "--precision", "f32")
        report, fusion = out / f"{name}.json", out / f"{name}.fusion.json"
        if not report.exists():
            run("compare", name, "--data", questions, "--system", ",".join(WORDS + BOTH), "--baseline", "bm25",
                "--measure", ",".join(MEASURES), "--no-cost", "--report", report)
        if not fusion.exists():
            run("compare", name, "--data", questions, "--tune-fusion", fusion)
        report = json.loads(report.read_text())
        title = COLLECTIONS[collection][0].format(n=f"{report['judged']:,}")
        systems = {system["name"]: system for system in report["systems"]}
        for system in (WORDS if encoder == "built-in" else []) + BOTH:
            row = {measure: systems[system]["measures"][measure]["mean"] for measure in MEASURES}
            difference = systems[system].get("differences", {}).get("nDCG@10")
            row["difference"] = [difference["mean"], *difference["interval"]] if difference else None
            key = system if system in WORDS else f"{system.replace('hybrid(rrf)', 'RRF-60').replace('hybrid', 'hybrid, default')}, {encoder}"
            found.setdefault(title, {})[key] = row
        evidence = json.loads(fusion.read_text())["evidence"]
        tried = {one["name"]: one["mean"] for one in evidence["tried"]}
        rows = {"hybrid, tuned*": (evidence["tuned"], evidence["against_better_side"]),
                "weight per query*": (tried["per-query weight"], evidence["per_query_against_better_side"])}
        for label, (mean, against) in rows.items():
            found[title][f"{label}, {encoder}"] = {"nDCG@10": mean, "better side": [against["mean"], *against["interval"]]}

for title, rows in found.items():
    print(f"\n| {title} | R@1 | R@20 | nDCG@10 | difference to BM25 (starred rows: to the better side) |\n|---|---:|---:|---:|---|")
    for name, row in rows.items():
        against = row.get("difference") or row.get("better side")
        interval = f"{signed(against[0])} [{signed(against[1])}, {signed(against[2])}]" if against else ""
        cells = [short(row[measure]) if measure in row else "" for measure in MEASURES]
        print(f"| {name} | {' | '.join(cells)} | {interval} |")

expected = here / "results.json"
if "--write" in sys.argv:
    expected.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    sys.exit()
wanted, wrong = json.loads(expected.read_text()), 0


def numbers(value):
    return [n for part in (value if isinstance(value, list) else [value]) if part is not None for n in [part]]


for title, rows in wanted.items():
    for name, row in rows.items():
        for what, value in row.items():
            theirs = numbers(found.get(title, {}).get(name, {}).get(what))
            if len(theirs) != len(numbers(value)) or any(abs(a - b) > 0.002 for a, b in zip(theirs, numbers(value))):
                wrong += 1
                print(f"differs: {title}: {name}: {what}: {theirs} instead of {value}")
print(f"\n{wrong} figures differ from tests/bench/results.json")
sys.exit(1 if wrong else 0)
