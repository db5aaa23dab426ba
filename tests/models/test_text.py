from __future__ import annotations

import re
import unicodedata

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimetric.data import texts as data_texts
from mimetric.models.encoders import create_encoder, embed
from mimetric.models.text import texts_of

texts = st.lists(st.text(max_size=30).map(lambda text: text.rstrip("\0")), min_size=1, max_size=6)


def code_points(given_texts, length=40):
    return torch.from_numpy(data_texts.code_points(given_texts, length))


@given(texts, st.integers(1, 40))
def test_there_and_back(given_texts, length):
    composed = [unicodedata.normalize("NFC", text) for text in given_texts]
    assert texts_of(code_points(given_texts, length)) == [text[:length].rstrip("\0") for text in composed]


def test_texts_golden():
    # U+00DF, U+4E2D and U+1F600, one number each.
    rows = [[97, 0xDF, 0], [0x4E2D, 0x1F600, 99], [0, 0, 0]]
    for dtype in (torch.int32, torch.int64):
        assert texts_of(torch.tensor(rows, dtype=dtype)) == ["aß", "中😀c", ""]
    assert texts_of(torch.zeros(0, 5, dtype=torch.int32)) == []


def word_hash(word):
    total = sum(ord(c) * pow(1_000_003, i, 2**31 - 1) for i, c in enumerate(word)) % (2**31 - 1)
    return total * 0x9E3779B1 // 2**16


@given(texts)
def test_bag_of_words_is_a_plain_loop(given_texts):
    encoder = create_encoder("bag_of_words:buckets=50,channels=4", (30,), None)
    vectors = encoder[0].vectors.weight
    for text, got in zip(given_texts, encoder(code_points(given_texts, 30))):
        lower = re.sub("[A-Z]", lambda c: c[0].lower(), unicodedata.normalize("NFC", text)[:30])
        words = re.findall("[0-9a-z\x80-\U0010ffff]+", lower)
        rows = [vectors[word_hash(word) % 50] for word in words] or [torch.zeros(4)]
        torch.testing.assert_close(got, torch.stack(rows).mean(0))


def test_words_that_differ_in_a_digit_hash_apart():
    words = [f"word{i}" for i in range(2000)]
    assert len({word_hash(word) for word in words}) == 2000
    assert (
        len({word_hash(word) % 16384 for word in words}) > 1800
    )  # 2,000 balls into 16,384 bins: 1,884 expected


def piece_hash(piece):
    total = sum(ord(c) * pow(1_000_003, i + 1, 2**31 - 1) for i, c in enumerate(piece)) % (2**31 - 1)
    return total * 0x9E3779B1 // 2**16


@given(texts, st.integers(1, 4))
def test_pieces_are_a_plain_loop(given_texts, longest):
    encoder = create_encoder(f"bag_of_words:buckets=50,channels=4,ngrams={longest}", (30,), None)
    vectors = encoder[0].vectors.weight
    for text, got in zip(given_texts, encoder(code_points(given_texts, 30))):
        lower = re.sub("[A-Z]", lambda c: c[0].lower(), unicodedata.normalize("NFC", text)[:30])
        found = []
        for word in re.findall("[0-9a-z\x80-\U0010ffff]+", lower):
            ended = f"\x01{word}\x01"
            for length in range(1, longest + 1):
                pieces = [ended[i : i + length] for i in range(len(ended) - length + 1)]
                found += [vectors[piece_hash(p) % 50 + 1] for p in pieces if p != "\x01"]
        torch.testing.assert_close(got, torch.stack(found).mean(0) if found else torch.zeros(4))


def test_pieces_golden():
    # Of "a b": a, b, and each with its ends: (a (a) a) b likewise; an end is the number 1.
    encoder = create_encoder("bag_of_words:buckets=1000,channels=3,ngrams=3", (3,), None)
    vectors = encoder[0].vectors.weight
    pieces = ["a", "\x01a", "a\x01", "\x01a\x01", "b", "\x01b", "b\x01", "\x01b\x01"]
    want = torch.stack([vectors[piece_hash(piece) % 1000 + 1] for piece in pieces]).mean(0)
    torch.testing.assert_close(encoder(code_points(["a b", "B,A"], 3)), torch.stack([want, want]))


@pytest.mark.parametrize("name", ["bag_of_words", "bag_of_words:ngrams=3", "text_transformer:depth=2"])
def test_padding_says_nothing(name):
    encoder = create_encoder(name, (40,), 8)
    rows = ["Zürich", "東京", "a b", ""]
    padded = torch.nn.functional.pad(code_points(rows), (0, 30))
    torch.testing.assert_close(embed(encoder, code_points(rows)), embed(encoder, padded))


def test_texts_without_a_character_are_finite_and_learn_nothing():
    encoder = create_encoder("text_transformer:depth=1", (4,), None)
    out = encoder(code_points(["", ""], 4))
    assert not out.any()
    out.sum().backward()
    assert all(not p.grad.any() for p in encoder.parameters() if p.grad is not None)


def test_long_texts_are_cut():
    encoder = create_encoder("text_transformer:depth=1", (4,), None)
    torch.testing.assert_close(encoder(code_points(["abcdef"])), encoder(code_points(["abcd"])))


def test_order_and_scripts_matter():
    encoder = create_encoder("text_transformer:depth=1", (4,), None)
    out = encoder(code_points(["abc", "cba", "ab", chr(97 + 256) + "bc"], 4))
    assert len(out.detach().unique(dim=0)) == 4
