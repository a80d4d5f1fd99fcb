"""Hard negatives for 10,000 SQuAD questions out of 125,362 passages, two threads: ours against what others use.

Ours is the whole command: opening the index, reading the questions, encoding them, searching, filtering, writing. Theirs is
the call alone, with texts, terms and embeddings in memory. Dense: three negatives a question, none above 95 % of the
positive's score (mine_hard_negatives with and without faiss). Sparse: the best three of 100 that hold no answer.
"""
import gzip, json, resource, shutil, subprocess, sys, tempfile, time
from pathlib import Path

from collection import PARALLAX, SQUAD_TRAIN, index
from question import peak
from worker import HERE, Worker, bench, compare

PASSAGES, QUESTIONS = 125_362, 10_000
SPARSE = "--source sparse --depth 100 --answers strict --duplicates keep --same-document keep".split()
# No two passages say the same (`files` asserts it), so twins of a positive, which mine_hard_negatives knows by their whole
# text, are not asked for; its rows have no room for where a negative came from, and neither have ours.
DENSE = ("--preset sentence-transformers --relative-margin 0.05 --depth 32 --duplicates keep --format n-tuples "
         "--shortfall drop").split()


def subset(data, file):
    """The first questions of SQuAD train that differ, as a SQuAD file; gives (text, context, answers) of each."""
    with gzip.open(data / SQUAD_TRAIN) as source:
        articles = json.load(source)["data"]
    taken, seen = [], set()
    for article in articles:
        for paragraph in article["paragraphs"]:
            new = [qa for qa in paragraph["qas"] if qa["question"] not in seen][:QUESTIONS - len(taken)]
            new = list({qa["question"]: qa for qa in new}.values())
            seen.update(qa["question"] for qa in new)
            taken += [(qa["question"], paragraph["context"], [a["text"] for a in qa["answers"]]) for qa in new]
            paragraph["qas"] = new
        article["paragraphs"] = [paragraph for paragraph in article["paragraphs"] if paragraph["qas"]]
    articles = [article for article in articles if article["paragraphs"]]
    file.write_text(json.dumps({"version": "1.1", "data": articles}))
    return taken


class Command:
    """Our command as a worker: each question of it runs the whole command anew."""

    def __init__(self, out, file, flags):
        self.command = ["taskset", "-c", "0,1", PARALLAX, "--indexes", out / "indexes", "--threads", "2", "mine-negatives",
                        "en125k", "--data", file, "--no-protect", "--force", *flags]
        self.peak = 0

    def ask(self, output):
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        told = subprocess.run(["/usr/bin/time", "-v", *self.command, "-o", output], check=True, capture_output=True, text=True)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        self.peak = max(self.peak, peak(told.stderr))
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return [seconds], seconds, cpu


def negatives(example, places):
    """The question of one of our examples, and the ordinals of its negatives; `places` by id and by text."""
    if "anchor" in example:
        return example["anchor"], {places[text] for name, text in example.items() if name.startswith("negative")}
    return example["query"], {places[negative["id"]] for negative in example["negatives"]}


def alike(ours, theirs, places):
    """The mean share of our negatives that are among theirs, over the questions that both have negatives for."""
    with open(ours) as lines:
        mined = dict(negatives(json.loads(line), places) for line in lines)
    shares = []
    for line in theirs.read_text().splitlines():
        question, *others = json.loads(line)
        if others and mined.get(question):
            shares.append(len(mined[question] & set(others)) / len(mined[question]))
    return sum(shares) / len(shares), len(shares)


def files(data, out, scratch):
    """Everything a peer needs at hand: texts and terms of passages and questions, rows of both; the questions' file for ours."""
    place = index(data, out, "en125k")
    asked = subset(data, scratch / "questions.json")
    queries = Worker("query", [bench("query"), place, scratch / "questions.json", QUESTIONS, "own"])
    assert queries.ask("texts", scratch / "texts")[0] == [str(PASSAGES), str(QUESTIONS)]
    queries.ask("ids", scratch / "ids")
    queries.close()
    words = Worker("terms", [bench("sparse"), place, scratch / "questions.json", QUESTIONS, 100, "bm25"])
    words.ask("terms", scratch / "terms")
    words.close()
    with open(scratch / "texts") as lines:
        texts = [json.loads(line) for line in lines]
    # A full text is a title, a space and a paragraph; only SQuAD's articles hold gold passages, and they come first.
    place_of = {}
    for i, text in enumerate(texts[:30_000]):
        place_of.setdefault(text.split(" ", 1)[-1], i)
    import numpy as np
    import static_model

    vectors = static_model.load().encode(texts[PASSAGES:], max_length=None)
    np.save(scratch / "rows.npy", np.ascontiguousarray(static_model.rows(place)))
    questions = [{"text": text, "gold": place_of[" ".join(context.split())] if context not in place_of else place_of[context],
                  "answers": answers, "row": row.tolist()} for (text, context, answers), row in zip(asked, vectors)]
    assert [q["text"].strip() for q in questions] == [text.strip() for text in texts[PASSAGES:]]
    for question, text in zip(questions, texts[PASSAGES:]):
        question["text"] = text
    (scratch / "asked.json").write_text(json.dumps(questions))
    ids = {line: i for i, line in enumerate((scratch / "ids").read_text().splitlines())}
    assert len(set(texts[:PASSAGES])) == PASSAGES
    return ids | {text: i for i, text in enumerate(texts[:PASSAGES])}


def run(data, out, rounds):
    scratch = Path(tempfile.mkdtemp(dir=out))
    try:
        places = files(data, out, scratch)
        for name, flags, asked in (("sparse", SPARSE, ["sparse"]), ("dense", DENSE, ["dense faiss", "dense torch"])):
            ours = Command(out, scratch / "questions.json", flags)
            for question in asked:
                peer = Worker(question, [sys.executable, HERE / "peer_mine.py", scratch / "texts", scratch / "terms", PASSAGES,
                                         scratch / "rows.npy", scratch / "asked.json"], cores="0,1")
                try:
                    compare(f"mining, {question}", lambda: ours.ask(scratch / "ours.jsonl"),
                            lambda: peer.ask(question, scratch / "theirs"), rounds, warm=1)
                    share, n = alike(scratch / "ours.jsonl", scratch / "theirs", places)
                    print(f"{share:.4f} of our negatives are among theirs ({n} questions); peak memory "
                          f"{ours.peak:.0f} MB against {peer.peak():.0f} MB, {ours.peak / peer.peak():.2f}", flush=True)
                    assert share > 0.9, "not the same negatives"
                finally:
                    peer.close()
    finally:
        shutil.rmtree(scratch)
