"""Encoders of texts, trained from scratch: `bag_of_words` and `text_transformer`.

A text is a row of Unicode code points, int32, with 0 behind its end (:func:`mimetric.data.texts.code_points`): a
tensor like any other, for samplers, chunks and caches.  Encoders with words of their own, such as ``hf:NAME``, read
the text back from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimetric.models.layers import Attention, head, text_length

_PAGE = 256  # code points, by the Unicode block or two that they belong to
_LARGEST = 0x10FFFF
_HASH = 2**31 - 1  # a prime
_GOLDEN = 0x9E3779B1  # 2^32 over the golden ratio (Knuth)


def texts_of(rows: Tensor) -> list[str]:
    """The texts that rows (n, length) of code points spell.

    >>> texts_of(torch.tensor([[97, 98], [233, 0], [0, 0]]))
    ['ab', 'é', '']
    """
    units = np.ascontiguousarray(rows.cpu().numpy(), np.uint32)
    return [str(text) for text in units.view(f"U{rows.shape[1]}")[:, 0]]


def bag_of_words(
    shape: Sequence[int],
    width: int | None,
    *,
    buckets: int = 16384,
    channels: int = 128,
    ngrams: int | None = None,
) -> nn.Module:
    """The mean of one learned vector for each word, or for each piece of a word, whatever their order.

    A word is a run of ASCII letters, in either case, digits, and whatever lies beyond ASCII.  Words are hashed: any
    word has a vector, and two words share one with probability 1 / `buckets`.

    Args:
        shape: (length,).
        width: of the embeddings; None gives the mean.
        buckets: how many vectors.
        channels: numbers in a vector.
        ngrams: in place of words, all pieces of 1 to so many characters of theirs, of which the ends of a word count as
            one; 3 finds words that are spelled alike, and learns which letters stand for which in another script.

    Reference: Joulin et al., 2017, arXiv:1607.01759; pieces: Bojanowski et al., 2017, arXiv:1607.04606 (who add them to
    words, and begin at 3 characters).

    >>> from mimetric.data.texts import code_points
    >>> encoder = bag_of_words((12,), None)
    >>> a, b, c = encoder(torch.from_numpy(code_points(["My card", "card, my", "my carb"], 12)))
    >>> torch.allclose(a, b), torch.allclose(a, c)
    (True, False)
    """
    text_length("bag_of_words", shape)
    mean = _WordMean(buckets, channels) if ngrams is None else _PieceMean(buckets, channels, ngrams)
    return nn.Sequential(mean, *head(channels, width))


def text_transformer(
    shape: Sequence[int], width: int | None, *, depth: int = 4, channels: int = 128
) -> nn.Module:
    """Characters with learned places through blocks of attention; the mean over the text's characters.

    The vector of a character is that of its page of 256 code points, roughly its script, and that of its place in
    the page: all of Unicode, without a vocabulary to fit.

    Args:
        shape: (length,); shorter rows are taken as well, longer ones are cut.
        width: of the embeddings; None gives the mean.
        depth: blocks.
        channels: of a character, a multiple of 32, which is the width of a head of attention.

    >>> from mimetric.data.texts import code_points
    >>> text_transformer((12,), 64)(torch.from_numpy(code_points(["Αθήνα", "Athens"], 12))).shape
    torch.Size([2, 64])
    """
    return nn.Sequential(
        _Characters(text_length("text_transformer", shape), depth, channels), *head(channels, width)
    )


def _used(rows: Tensor) -> Tensor:
    """Without the columns at the end that no row uses; all of them where it would make an accelerator wait."""
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return rows
    places = torch.arange(1, rows.shape[1] + 1)
    return rows[:, : max(1, int(((rows != 0).any(0) * places).max()))]


class _WordMean(nn.Module):
    def __init__(self, buckets: int, channels: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(buckets, channels)

    def forward(self, rows: Tensor) -> Tensor:
        words, held = _words(rows)
        found = self.vectors(words % self.vectors.num_embeddings) * held[..., None]
        return found.sum(1) / held.sum(1, keepdim=True).clamp(min=1)  # type: ignore[no-any-return]


class _PieceMean(nn.Module):
    """The vectors of the pieces of 1 to `longest` characters; number 0 is none's."""

    def __init__(self, buckets: int, channels: int, longest: int) -> None:
        super().__init__()
        self.vectors, self.longest = nn.Embedding(buckets + 1, channels), longest

    def forward(self, rows: Tensor) -> Tensor:
        hashes, held = _pieces(_used(rows), self.longest)
        which = torch.where(held, hashes % (self.vectors.num_embeddings - 1) + 1, 0)
        return F.embedding_bag(which, self.vectors.weight, mode="mean", padding_idx=0)


def _pieces(rows: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """A hash for each run of 1 to `longest` characters, and which of these lie in a word and its two ends."""
    codes, letter = (F.pad(each, (1, longest)) for each in _letters(rows))
    codes = torch.where(letter, codes, 1)  # an end
    hashes, held = [], []
    for length in range(1, longest + 1):
        runs, letters = codes.unfold(1, length, 1), letter.unfold(1, length, 1)
        factors = _factors(length + 1)[1:].to(rows.device)  # not 1: a run of 1 is no sum of others
        hashes.append(_mixed((runs * factors).sum(2)))
        held.append(letters.any(2) & letters[..., 1:-1].all(2))
    return torch.cat(hashes, 1), torch.cat(held, 1)


def _letters(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The code points, ASCII in lower case, and which of them belong to words."""
    codes = rows.long()
    codes = torch.where((codes >= 65) & (codes <= 90), codes + 32, codes)
    return codes, ((codes >= 48) & (codes <= 57)) | ((codes >= 97) & (codes <= 122)) | (codes >= 128)


def _words(rows: Tensor) -> tuple[Tensor, Tensor]:
    """A hash for each word in order, (n, length) int64, and (n, length) which of these there are.

    The hash is a sum over its characters, each times a number for the place in the word.
    """
    codes, letter = _letters(rows)
    place = torch.arange(rows.shape[1], device=rows.device)
    start = letter & ~letter.roll(1, 1).index_fill(1, place[:1], False)
    first = torch.where(start, place, 0).cummax(1).values
    factors = _factors(rows.shape[1]).to(rows.device)
    terms = torch.where(letter, codes * factors[place - first], 0)
    which = (start.cumsum(1) - 1).clamp(min=0)
    # Below 2^53 times the length: no overflow up to 1,024 characters, and a wrapped sum is as good a hash.
    sums = torch.zeros_like(codes).scatter_add(1, which, terms)
    return _mixed(sums), place < start.sum(1, keepdim=True)


def _mixed(sums: Tensor) -> Tensor:
    """Hashes of which every bit depends on all: or words that differ in a digit would meet often."""
    return (sums % _HASH * _GOLDEN) >> 16


def _factors(count: int) -> Tensor:
    factors, factor = [], 1
    for _ in range(count):
        factors.append(factor)
        factor = factor * 1_000_003 % _HASH
    return torch.tensor(factors)


class _Characters(nn.Module):
    def __init__(self, length: int, depth: int, channels: int) -> None:
        super().__init__()
        self.pages = nn.Embedding(_LARGEST // _PAGE + 1, channels)
        self.cells = nn.Embedding(_PAGE, channels)
        # Loud enough to be heard beside the characters from the start, and no louder than these.
        self.places = nn.Parameter(0.3 * torch.randn(length, channels))
        self.blocks = nn.ModuleList(Attention(channels, 32) for _ in range(depth))
        self.norm = nn.LayerNorm(channels)

    def forward(self, rows: Tensor) -> Tensor:
        codes = _used(rows[:, : len(self.places)]).long()
        held = codes != 0
        seen = torch.cat((torch.ones_like(held[:, :1]), held[:, 1:]), 1)  # attention needs a place to look at
        x = self.pages(codes // _PAGE) + self.cells(codes % _PAGE) + self.places[: codes.shape[1]]
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x) * held[..., None]
        return x.sum(1) / held.sum(1, keepdim=True).clamp(min=1)  # type: ignore[no-any-return]
