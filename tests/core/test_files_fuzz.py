"""Damaged files of every format, a few hundred of each; `python tests/helpers/fuzz_files.py --minutes 60` goes on from there."""

from __future__ import annotations

import pytest

from helpers.fuzz_files import Corpus

KINDS = [
    "own, bytes",
    "own, values",
    "npz, values",
    "npz, bytes",
    "safetensors, bytes",
    "neat, bytes",
    "neat, values",
    "wann",
    "nnet",
    "checkpoint",
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    pytest.importorskip("safetensors", reason="the extra graphbp[safetensors] is not installed")
    return Corpus(tmp_path_factory.mktemp("corpus"))


def test_every_kind_of_file_is_damaged(corpus):
    assert set(KINDS) == set(corpus.kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_said_in_our_words_with_the_files_name(corpus, kind):
    raw = {seed: corpus.raw(kind, seed) for seed in range(150)}
    assert {seed: text for seed, text in raw.items() if text is not None} == {}
