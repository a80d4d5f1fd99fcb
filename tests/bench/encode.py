"""Encodes with ours and with the libraries people would use instead, alternately, and prints the ratios of times.

    python3 -m venv venv
    venv/bin/pip install torch transformers sentence-transformers onnxruntime onnx onnxscript model2vec numpy
    venv/bin/python tests/bench/encode.py MODEL DATA [ROUNDS] [static|batch|mixed|query]…

MODEL is a folder of all-MiniLM-L6-v2, DATA holds squad/train-v1.1.json.gz. Everyone has all cores, batches of 32 sorted by
length, and is warmed up. onnxruntime gets the graph fused by its own optimiser, int8 is its dynamic quantisation of that, with
the weights' type that is faster here. In the rows of 128 tokens and of one query it gets token ids, ours and
sentence-transformers always get text. A ratio is their time over ours, of neighbours in one round.
"""
import gzip, json, os, random, statistics, subprocess, sys, tempfile, time, warnings
import numpy as np

os.environ["TOKENIZERS_PARALLELISM"] = "true"
warnings.filterwarnings("ignore")
model, data = sys.argv[1], sys.argv[2]
rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 7
parts = sys.argv[4:] or ["static", "batch", "mixed", "query"]
cores = len(os.sched_getaffinity(0))
place = tempfile.TemporaryDirectory()
random.seed(1)


class Ours:
    def __init__(self, encoder, precision, most):
        words = [ours_binary, encoder, precision, str(most), str(cores)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"ours died at `{line}`")
        return float(answer)

    def load(self, texts):
        path = os.path.join(place.name, "texts.json")
        with open(path, "w") as file:
            json.dump(texts, file)
        assert self.ask(f"load {path}") == len(texts)

    def rows(self):
        path = os.path.join(place.name, "rows.f32")
        d = int(self.ask(f"rows {path}"))
        return np.fromfile(path, "<f4").reshape(-1, d)


class Onnx:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, ids):
        """Unit rows of token id lists, in their order."""
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        out = np.empty((len(ids), 384), np.float32)
        for start in range(0, len(ids), 32):
            part = order[start : start + 32]
            width = len(ids[part[0]])
            padded, mask = np.zeros((len(part), width), np.int64), np.zeros((len(part), width), np.int64)
            for row, i in enumerate(part):
                padded[row, : len(ids[i])], mask[row, : len(ids[i])] = ids[i], 1
            feed = {"input_ids": padded, "attention_mask": mask, "token_type_ids": np.zeros_like(padded)}
            hidden = self.session.run(None, feed)[0]
            pooled = np.einsum("bth,bt->bh", hidden, mask.astype(np.float32)) / mask.sum(1, keepdims=True)
            out[part] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return out


def export():
    """The model as ONNX: fused, and quantised with both types of weights."""
    network = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.network(input_ids, attention_mask, token_type_ids).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    paths = [os.path.join(place.name, name) for name in ("plain.onnx", "f32.onnx", "int8.onnx", "uint8.onnx")]
    example = tuple(torch.full((2, 16), value) for value in (1000, 1, 0))
    axes = {name: {0: "batch", 1: "tokens"} for name in [*names, "hidden"]}
    torch.onnx.export(Hidden().eval(), example, paths[0], input_names=names, output_names=["hidden"], dynamic_axes=axes,
                      opset_version=17, dynamo=False)
    fused = optimize_model(paths[0], model_type="bert", num_heads=12, hidden_size=384, opt_level=1)
    counts = fused.get_fused_operator_statistics()
    assert counts["Attention"] == 6 and counts["SkipLayerNormalization"] == 12 and counts["BiasGelu"] == 6, counts
    fused.save_model_to_file(paths[1])
    for path, kind in zip(paths[2:], (QuantType.QInt8, QuantType.QUInt8)):
        quantize_dynamic(paths[1], path, weight_type=kind, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return paths[1:]


def timed(deed):
    time.sleep(0.1)  # so that the other side's threads have stopped spinning
    start = time.perf_counter()
    deed()
    return time.perf_counter() - start


def median_each(deed, things):
    return statistics.median(timed_at_once(deed, thing) for thing in things)


def timed_at_once(deed, thing):
    start = time.perf_counter()
    deed(thing)
    return time.perf_counter() - start


def pairs(name, ours, theirs):
    """Alternates, and prints what theirs takes over what ours takes."""
    ours(), theirs()
    times = []
    for _ in range(rounds):
        time.sleep(0.1)
        times.append((ours(), theirs()))
    ratios = [b / a for a, b in times]
    a, b = (statistics.median(column) for column in zip(*times))
    print(f"{name:<66} {statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})   "
          f"ours {1000 * a:.2f} ms, theirs {1000 * b:.2f} ms", flush=True)


def least_cosine(a, b):
    return float((a * b).sum(1).min())


def built():
    words = ["cargo", "bench", "--no-run", "--bench", "encode", "--message-format", "json"]
    lines = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return next(it["executable"] for it in found if it.get("executable") and it["target"]["name"] == "encode")


def transformers_rows(paragraphs):
    tokenizer = AutoTokenizer.from_pretrained(model).backend_tokenizer
    tokenizer.no_padding()

    def ids(texts, most):
        tokenizer.enable_truncation(most)
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]

    f32, *quantised = (Onnx(path) for path in export())
    sentence = SentenceTransformer(model, device="cpu")
    mixed = random.sample(paragraphs, 128)
    long = [" ".join(random.sample(paragraphs, 4)) for _ in range(32)]
    questions = [" ".join(words) for words in (text.lower().split() for text in paragraphs) if len(words) > 20]
    questions = [" ".join(text.split()[:10]) for text in questions]
    questions = [text for text in questions if len(ids([text], 256)[0]) == 12][:51]
    assert len(questions) == 51 and all(len(one) == 128 for one in ids(long, 128))
    int8 = min(quantised, key=lambda it: min(timed(lambda: it.run(ids(long, 128))) for _ in range(3)))

    def of_sentence(texts, most):
        sentence.max_seq_length = most
        return sentence.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)

    rows_of = (
        ("batch", 128, long, "32 passages of 128 tokens"),
        ("mixed", 256, mixed, "128 SQuAD paragraphs, text to vector"),
    )
    for part, most, texts, name in rows_of:
        if part not in parts:
            continue
        ready = ids(texts, most)
        # With one length the tokens are made beforehand; with mixed ones the way from the text counts.
        feed = (lambda ready=ready: ready) if most == 128 else (lambda: ids(texts, most))
        want = f32.run(ready)
        for precision, engine in (("f32", f32), ("int8", int8)):
            ours = Ours(model, precision, most)
            ours.load(texts)
            rows = ours.rows()
            print(f"{name}, {precision}: least cosine to onnxruntime f32: ours {least_cosine(rows, want):.5f}, "
                  f"onnxruntime {precision} {least_cosine(engine.run(ready), want):.5f}, "
                  f"sentence-transformers {least_cosine(of_sentence(texts, most), want):.5f}")
            assert least_cosine(rows, want) > (0.9999 if precision == "f32" else 0.99)
            encode = lambda: ours.ask("all")
            pairs(f"{name}, {precision}, onnxruntime", encode, lambda: timed(lambda: engine.run(feed())))
            if precision == "f32":
                pairs(f"{name}, f32, sentence-transformers", encode, lambda: timed(lambda: of_sentence(texts, most)))

    if "query" not in parts:
        return
    ready = ids(questions, 256)
    for precision, engine in (("f32", f32), ("int8", int8)):
        ours = Ours(model, precision, 256)
        ours.load(questions)
        one = lambda: ours.ask("each")
        pairs(f"one question of 12 tokens, {precision}, onnxruntime", one,
              lambda: median_each(lambda tokens: engine.run([tokens]), ready))


def static_row(paragraphs):
    ours = Ours("builtin", "f32", 0)
    dimension = int(ours.ask(f"export {place.name}"))
    with open(os.path.join(place.name, "vocabulary.txt"), encoding="utf-8") as file:
        entries = file.read().split("\n")
    table = np.fromfile(os.path.join(place.name, "rows.f32"), "<f4").reshape(len(entries), dimension)
    words = {entry: i for i, entry in enumerate(entries)}
    tokenizer = Tokenizer(WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    theirs = StaticModel(vectors=table, tokenizer=tokenizer, normalize=True)
    ours.load(paragraphs)
    encode = lambda: theirs.encode(paragraphs, max_length=None)
    cosine = least_cosine(ours.rows(), encode())
    print(f"{len(paragraphs)} SQuAD paragraphs, built-in static: least cosine to model2vec {cosine:.5f}")
    assert cosine > 0.999
    pairs("SQuAD paragraphs, built-in static, text to vector, model2vec", lambda: ours.ask("all"), lambda: timed(encode))


ours_binary = built()
with gzip.open(os.path.join(data, "squad/train-v1.1.json.gz")) as file:
    articles = json.load(file)["data"]
paragraphs = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]

from model2vec import StaticModel
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece

print(f"{cores} cores, {rounds} rounds; their time over ours, median (least to most)")
if "static" in parts:
    static_row(paragraphs)
if parts == ["static"]:
    sys.exit()

import onnx, onnxruntime, torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.optimizer import optimize_model
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

torch.set_num_threads(cores)
with torch.inference_mode():
    transformers_rows(paragraphs)
