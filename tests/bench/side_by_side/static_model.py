"""The encoder inside our program, read from its file into model2vec: the same matrix, the same words."""
import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from worker import ROOT


def load():
    """Layout: see src/encoder/fixed/packed.rs."""
    file = (ROOT / "src/encoder/builtin/model.bin").read_bytes()
    n, dimension = np.frombuffer(file, "<u8", 2, 24).tolist()
    scales = np.frombuffer(file, "<f4", n, 64)
    rows = np.frombuffer(file, "i1", n * dimension, 64 + 4 * n).reshape(n, dimension)
    entries = file[64 + 4 * n + n * dimension:].decode().split("\n")[:n]
    words = {entry: i for i, entry in enumerate(entries)}
    tokenizer = Tokenizer(WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return StaticModel(vectors=rows * scales[:, None], tokenizer=tokenizer, normalize=True)


def rows(place):
    """An index's vectors as f32, mapped: `rows.bin` is 64 bytes of head (from byte 24 on: rows, dimension), then rows."""
    path = next(place.glob("gen-*/dense/rows.bin"))
    head = np.fromfile(path, "<u8", 8)
    return np.memmap(path, "<f4", "r", 64, (int(head[3]), int(head[4])))
