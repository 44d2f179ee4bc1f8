# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A corpus of tiny random ONNX models, one or more for every method of adaptive depth, KV fill and opset.

`python -m ee.corpus OUT` writes the files, what ONNX Runtime makes of them, and what the float64 reference makes of the
same weights, and refuses to write anything where the two disagree. `write.py` says what is in OUT; one file per family of
methods says what the models are.
"""

from .cases import all_cases
from .write import chosen, write_corpus

__all__ = ["all_cases", "chosen", "write_corpus"]
