# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training of models with depth: `python -m ee.train RECIPE DATA OUT`; recipes are a table in recipes.py."""
