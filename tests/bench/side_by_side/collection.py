"""The collections, indexed once each into OUT/indexes."""
import os, subprocess, sys

from worker import ROOT

SQUAD_TRAIN, SQUAD_DEV = "squad/train-v1.1.json.gz", "squad/dev-v1.1.json.gz"
ENGLISH, KOREAN = "enwiki-passages/corpus.jsonl.gz", "kowiki-passages/corpus.jsonl.gz"
SOURCES = {"en104k": [ENGLISH], "en125k": [SQUAD_TRAIN, SQUAD_DEV, ENGLISH], "both164k": [ENGLISH, KOREAN]}
PARALLAX = os.environ.get("PARALLAX", str(ROOT / "target/release/parallax"))


def parallax(out, *words, **options):
    """Runs our program on the indexes in OUT; its two outputs, as text."""
    command = [PARALLAX, "--indexes", str(out / "indexes"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout, done.stderr


def index(data, out, name):
    """The folder of an index, built with the built-in encoder if it is not there."""
    place = out / "indexes" / name
    if not (place / "CURRENT").exists():
        parallax(out, "build-index", *[data / source for source in SOURCES[name]], "--name", name)
    return place
