# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From packages to token files: read, clean, split, train a tokenizer, encode, write.

Same packages and settings, same bytes: documents are ordered and split by the SHA-256 of their text, the tokenizer is
trained on one thread, and nothing depends on the clock, the machine or the order of files.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..errors import UserError
from ..folders import whole_folder, write_json
from ..tokenizer_files import digits_byte_level
from .clean import Document, is_prose, normal, without_boilerplate, without_copies
from .fetch import Package, debian, pypi, sha256
from .reader import END
from .sources import SOURCES, Source

RECIPE = ("sources.py", "markup.py", "roff.py", "clean.py", "build.py", "../tokenizer_files.py")  # code the bytes depend on
END_TEXT = "<|endoftext|>"
OUTPUTS = ("train.bin", "valid.bin", "train.index.json", "valid.index.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Settings:
    """`vocab` entries in all; `valid` share of the documents of sources without named ones; `seed` orders documents."""

    vocab: int = 2048
    valid: float = 0.04
    seed: int = 0
    sources: tuple[str, ...] = tuple(s.name for s in SOURCES)


def fetch(sources: list[Source], cache: Path) -> dict[str, Package]:
    """The package of every source, by the package's name; downloads what the cache lacks."""
    cache.mkdir(parents=True, exist_ok=True)
    result: dict[str, Package] = {}
    for s in sources:
        if s.package not in result:
            result[s.package] = pypi(s.package, s.version, cache) if s.registry == "pypi" else debian(s.package, cache)
    return result


def _by_hash(document: Document, salt: str) -> bytes:
    return hashlib.sha256(salt.encode() + document.digest).digest()


def read(source: Source, root: Path) -> list[Document]:
    """The documents of one unpacked source in normal form, prose only; with a limit, whole documents in hash order."""
    found = [Document(source.name, source.domain, f"{source.name}/{name}", normal(text)) for name, text in source.read(root)]
    found = [d for d in found if is_prose(d.text)]
    if not found:
        raise UserError(f"source {source.name}: no text found in {root}; the package's layout is not the one known here")
    if missing := set(source.held_out) - {d.name.split("/", 1)[1] for d in found}:
        names = ", ".join(sorted(missing))
        raise UserError(f"source {source.name}: no document named {names}; the package's content is not the one known here")
    if source.limit is not None:
        size, kept = 0, []
        for document in sorted(found, key=lambda d: _by_hash(d, "limit")):
            if size + len(document.text) <= source.limit:
                size += len(document.text)
                kept.append(document)
        found = sorted(kept, key=lambda d: d.name)
    return found


def split(documents: list[Document], sources: list[Source], settings: Settings) -> dict[str, list[Document]]:
    """{'train': ..., 'valid': ...}, each in the order of salted hashes, so that domains are interleaved."""
    named = {f"{s.name}/{n}" for s in sources for n in s.held_out}
    with_names = {s.name for s in sources if s.held_out}
    result: dict[str, list[Document]] = {"train": [], "valid": []}
    for d in sorted(documents, key=lambda d: (_by_hash(d, f"order {settings.seed}"), d.name)):
        share = int.from_bytes(d.digest[:8], "big") / 2**64
        valid = d.name in named if d.source in with_names else share < settings.valid
        result["valid" if valid else "train"].append(d)
    for name, part in result.items():
        if not part:
            raise UserError(f"the {name} split is empty: {len(documents)} documents are too few for a share of {settings.valid:g}")
    return result


def train_tokenizer(texts: list[str], vocab: int) -> Tokenizer:
    """Byte-level BPE: id 0 is END_TEXT, then the 256 bytes, then merges; digits stay alone. Any text can be encoded."""
    if not 257 < vocab <= 65536:
        raise UserError(f"--vocab {vocab} is outside 258..65536 (the end token and 256 bytes, 16-bit ids)")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = digits_byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=[END_TEXT], initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab:
        raise UserError(f"--vocab {vocab}: the text has merges for {tokenizer.get_vocab_size()} entries only")
    return tokenizer


def write_split(folder: Path, name: str, documents: list[Document], tokenizer: Tokenizer) -> dict:
    """NAME.bin and NAME.index.json; returns counts per domain."""
    entries, offset, domains = [], 0, {}
    with open(folder / f"{name}.bin", "wb") as file:
        for d in documents:
            ids = np.array([*tokenizer.encode(d.text, add_special_tokens=False).ids, END], "<u2")
            file.write(ids.tobytes())
            entry = {"name": d.name, "domain": d.domain, "offset": offset, "tokens": len(ids) - 1, "bytes": len(d.text.encode())}
            entries.append(entry)
            offset += len(ids)
            own = domains.setdefault(d.domain, {"documents": 0, "tokens": 0, "bytes": 0})
            own["documents"] += 1
            own["tokens"] += entry["tokens"]
            own["bytes"] += entry["bytes"]
    index = {"bin": f"{name}.bin", "dtype": "uint16, little-endian", "end": END, "documents": entries}
    (folder / f"{name}.index.json").write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    total = {"documents": len(entries), "tokens": offset, "bytes": sum(e["bytes"] for e in entries)}
    return total | {"domains": dict(sorted(domains.items()))}


def recipe() -> dict:
    """Identity of the code that makes the bytes: a data folder written by other code is built anew."""
    here = Path(__file__).parent
    code = hashlib.sha256("".join(sha256(here / name) for name in RECIPE).encode())
    return {"code_sha256": code.hexdigest(), "tokenizers": tokenizers.__version__}


def is_current(out: Path, wanted: dict) -> bool:
    """Whether `out` holds a whole build whose manifest agrees with `wanted` and whose files are the recorded ones."""
    try:
        manifest = json.loads((out / "manifest.json").read_text("utf-8"))
        return all(manifest[k] == v for k, v in wanted.items()) and all(sha256(out / n) == h for n, h in manifest["outputs"].items())
    except (OSError, ValueError, KeyError):
        return False


def build(out: Path, cache: Path, settings: Settings = Settings(), sources: tuple[Source, ...] = SOURCES, say=print) -> bool:
    """Write the data folder `out`; False when it was there already. See the package's docstring for the files."""
    known = {s.name: s for s in sources}
    if unknown := [n for n in settings.sources if n not in known]:
        raise UserError(f"--sources {unknown[0]}: not a source; accepted: {', '.join(known)}")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is not a folder")
    chosen = [known[n] for n in settings.sources]
    packages = fetch(chosen, cache)
    wanted = {
        "recipe": recipe(),
        "settings": {"vocab": settings.vocab, "valid": settings.valid, "seed": settings.seed, "sources": list(settings.sources)},
        "packages": [p.facts() for p in packages.values()],
    }
    if is_current(out, wanted):
        return False
    documents: list[Document] = []
    counts: dict[str, dict] = {}
    for s in chosen:
        found = read(s, packages[s.package].root)
        counts[s.name] = {"documents": len(found), "characters": sum(len(d.text) for d in found)}
        say(f"{s.name}: {len(found)} documents, {counts[s.name]['characters'] / 1e6:.2f} M characters")
        documents += found
    documents = [d for d in without_copies(without_boilerplate(documents)) if is_prose(d.text)]
    for s in chosen:
        own = [len(d.text) for d in documents if d.source == s.name]
        counts[s.name] |= {"kept_documents": len(own), "kept_characters": sum(own)}
    parts = split(documents, chosen, settings)
    say(f"without copies: {len(documents)} documents, {sum(len(d.text) for d in documents) / 1e6:.2f} M characters; training the tokenizer")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread: other programs share the machine
    tokenizer = train_tokenizer([d.text for d in parts["train"]], settings.vocab)
    with whole_folder(out, owned=(), seal="manifest.json") as folder:
        tokenizer.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_TEXT, "eos_token": END_TEXT, "model_max_length": 2048}
        write_json(folder / "tokenizer_config.json", config | {"add_bos_token": False, "clean_up_tokenization_spaces": False})
        splits = {name: write_split(folder, name, part, tokenizer) for name, part in parts.items()}
        outputs = {name: sha256(folder / name) for name in OUTPUTS}
        write_json(folder / "manifest.json", wanted | {"sources": counts, "splits": splits, "outputs": outputs})
    for name, part in splits.items():
        say(f"{name}: {part['documents']} documents, {part['tokens']} tokens, {part['bytes'] / max(part['tokens'], 1):.2f} bytes per token")
    return True
