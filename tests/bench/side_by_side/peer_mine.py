"""Mining as others do it, as a worker: TEXTS TERMS PASSAGES ROWS QUESTIONS (see mine.py for the files).

`dense`: sentence-transformers' mine_hard_negatives with embeddings at hand. `sparse`: bm25s with numba, then DPR's rule for
passages that hold an answer, each passage cut into tokens once at most.
"""
import contextlib
import io
import json
import sys
import time
import unicodedata

import numpy as np
import regex
from worker import serve

texts_file, terms_file, passages, rows_file, questions_file = sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:6]
with open(texts_file) as file:
    texts = [json.loads(line) for line in file][:passages]
with open(questions_file) as file:
    asked = json.load(file)  # of each question: text, ordinal of its gold passage, answers, row
NEGATIVES = 3


class Cached:
    """What mine_hard_negatives asks of a model whose embeddings were computed before."""

    device = "cpu"

    def __init__(self, corpus):
        import torch

        self.torch, self.rows = torch, corpus
        self.questions = np.array([question["row"] for question in asked], np.float32)

    def encode_document(self, corpus, **_):
        assert len(corpus) == len(self.rows)
        return self.rows

    def encode_query(self, queries, **_):
        assert len(queries) == len(self.questions)
        return self.questions

    def get_embedding_dimension(self):
        return self.rows.shape[1]

    def similarity(self, a, b):
        return self.torch.as_tensor(a) @ self.torch.as_tensor(b).T

    def similarity_pairwise(self, a, b):
        return (self.torch.as_tensor(a) * self.torch.as_tensor(b)).sum(1)


def dense(faiss, file):
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    model = Cached(np.load(rows_file))
    pairs = {"question": [q["text"] for q in asked], "passage": [texts[q["gold"]] for q in asked]}
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = mine_hard_negatives(Dataset.from_dict(pairs), model, corpus=texts, relative_margin=0.05,
                                    num_negatives=NEGATIVES, output_format="n-tuple", use_faiss=faiss == "faiss",
                                    verbose=False)
    seconds = time.perf_counter() - started
    place = {text: i for i, text in enumerate(texts)}
    with open(file, "w") as out:
        for row in found:
            out.write(json.dumps([row["question"], *(place[row[f"negative_{i + 1}"]] for i in range(NEGATIVES))]) + "\n")
    return [seconds]


TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def tokens(text):
    return TOKEN.findall(unicodedata.normalize("NFD", text).lower())


def holds(passage, answers):
    for answer in answers:
        first, n = answer[0], len(answer)
        if any(word == first and passage[i:i + n] == answer for i, word in enumerate(passage)):
            return True
    return False


words = None


def sparse(file):
    global words
    if words is None:
        import bm25s

        with open(terms_file) as lines:
            terms = [line.split() for line in lines]
        engine = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
        engine.index(terms[:passages], show_progress=False)
        engine.activate_numba_scorer()
        words = engine, terms[passages:]
    engine, queries = words
    started = time.perf_counter()
    ranked = engine.retrieve(queries, k=100, show_progress=False, n_threads=2)[0].tolist()
    cut, mined = {}, []
    for question, best in zip(asked, ranked):
        answers = [found for found in map(tokens, question["answers"]) if found]
        kept = []
        for i in best:
            if i == question["gold"]:
                continue
            if i not in cut:
                cut[i] = tokens(texts[i])
            if not holds(cut[i], answers):
                kept.append(i)
                if len(kept) == NEGATIVES:
                    break
        mined.append(kept)
    with open(file, "w") as out:
        out.writelines(json.dumps([q["text"], *kept]) + "\n" for q, kept in zip(asked, mined))
    return [time.perf_counter() - started]


serve({"dense": dense, "sparse": sparse})
