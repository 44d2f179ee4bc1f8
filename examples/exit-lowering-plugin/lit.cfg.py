# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How lit runs the plugin's test: the target `check` gives the paths."""

import os

import lit.formats

config.name = "exit-lowering-plugin"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = lit_config.params["out"]
config.substitutions += [
    ("%plugin", lit_config.params["plugin"]),
    ("%ee_opt", lit_config.params["ee_opt"]),
]
config.environment["PATH"] = os.pathsep.join([lit_config.params["llvm_tools"], os.environ["PATH"]])
