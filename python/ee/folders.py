# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Output folders that appear whole or not at all."""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")  # a tokenizer, beside the model or text whose tokens are its

# Everything this package writes into a model folder: what an earlier run left and this one does not write would
# not belong to the new weights.
OWNED = (
    *("model.onnx", "model.onnx.data", "model.nocache.onnx", "oracle.onnx", "scripted.onnx", "exits.toml", "exits.safetensors"),
    *("config.json", "generation_config.json", *TOKENIZER),
)


def check_output_file(out) -> None:
    """Refuse a path that cannot become a file. Tools that compute for long ask before they begin."""
    out = Path(out)
    if out.is_dir():
        raise UserError(f"{out}: is a folder, accepted: the path of a file")
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder '{out.parent}', make it first")


def check_output_folder(out) -> None:
    """Refuse a path that cannot become a folder, as where it or something above it is a file."""
    for path in (Path(out), *Path(out).parents):
        if path.is_dir():
            return
        if path.exists():
            raise UserError(f"{out}: '{path}' is a file, accepted: a folder, or a path at which one can be made")


@contextmanager
def _user_path(out: Path, prefix: str):
    """Lets errors name `out`, which the user knows, where they would name the hidden path that begins with `prefix`."""
    try:
        yield
    except OSError as error:
        if not any(part.startswith(prefix) for part in Path(str(error.filename)).parts):
            raise
        raise type(error)(error.errno, error.strerror, str(error.filename2 or out)) from None


@contextmanager
def whole_file(out: Path):
    """Yield a path beside `out`; when the body succeeds the file written there becomes `out`, else it vanishes."""
    out = Path(out)
    check_output_file(out)
    prefix = f".{out.name}."
    with _user_path(out, prefix):
        handle, name = tempfile.mkstemp(prefix=prefix, dir=out.parent)
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o644)
            os.replace(name, out)
        finally:
            Path(name).unlink(missing_ok=True)


@contextmanager
def whole_folder(out: Path, owned=OWNED, seal: str | None = None):
    """Yield a fresh folder beside `out`; when the body succeeds its files replace those of `out`, else it vanishes. Files
    called as in `owned` that were not written again go. `seal` is the file without which readers take the folder for not
    made: it leaves first and comes last."""
    out = Path(out)
    check_output_folder(out)
    prefix, written = f".{out.name}.", set()
    with _user_path(out, prefix):
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            if not out.exists():
                os.replace(temporary, out)
            else:
                if seal is not None:
                    (out / seal).unlink(missing_ok=True)
                for file in sorted(temporary.iterdir(), key=lambda file: (file.name == seal, file.name)):
                    os.replace(file, out / file.name)
                    written.add(file.name)
                for name in set(owned) - written:
                    (out / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, document: dict) -> None:
    """A JSON document with stable formatting; tokenizers are one line per entry either way, so keep indent small."""
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
