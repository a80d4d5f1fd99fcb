"""Ours and other programs at the same work, in turns: what the README says of speed, made by one command a row.

    python3 -m venv venv && venv/bin/pip install bm25s numba hnswlib usearch faiss-cpu model2vec sentence-transformers datasets matplotlib
    venv/bin/python tests/bench/side_by_side WHAT DATA OUT [ROUNDS]

WHAT is one of the words below; DATA a folder with squad, enwiki-passages and kowiki-passages; OUT a folder for indexes,
which are made where they are not there yet. Every pair is asked alternately and checked to have computed the same.

Lucene: `pip download --no-deps --no-binary :all: pyserini==0.44.0`, unpack it, and let LUCENE_JAR name the
anserini-*-fatjar.jar in it (Lucene 9.9; Java 17 is enough).
"""
import importlib
import os
import sys
from pathlib import Path

# The folder is source: nothing compiled is left in it, by this program or by those it starts.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

WHAT = {
    "words": "BM25 over tantivy, bm25s and Lucene",
    "question": "a whole hybrid question over the best parts of other libraries",
    "build": "build-index over tantivy, model2vec and hnswlib",
    "mine": "mine-negatives over sentence-transformers and bm25s",
    "growth": "how cost grows with the collection",
}

if len(sys.argv) not in (4, 5) or sys.argv[1] not in WHAT:
    sys.exit(__doc__ + "\n" + "\n".join(f"{name:9} {what}" for name, what in WHAT.items()))
data, out = (Path(argument).resolve() for argument in sys.argv[2:4])
out.mkdir(parents=True, exist_ok=True)
importlib.import_module(sys.argv[1]).run(data, out, int(sys.argv[4]) if len(sys.argv) == 5 else 7)
