// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes between dialects, in pipeline order.

#ifndef ADAPTIVE_CONVERSION_PASSES_TD
#define ADAPTIVE_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

//===-- Raising of ONNX graphs --------------------------------------------===//

def SimplifyOnnx : Pass<"adaptive-simplify-onnx", "::mlir::ModuleOp"> {
  let summary = "Folds what an exporter left in a carrier graph";
  let description = [{
    Calls of model-local functions are inlined, shape arithmetic is computed over
    symbolic dimensions, constants are folded, transposes of weights become
    `transposed` weights, and nodes that change nothing go.

    Before and after: a carrier function that computes the same. After: no node
    without users is left, but for those with results of the graph.
  }];
}

def RaiseRows : Pass<"adaptive-raise-rows", "::mlir::ModuleOp"> {
  let summary = "Turns the graph of a causal decoder into a model over rows";
  let description = [{
    Interprets the graph over views of rows, masks by distance and tables by
    position; attention must be proven causal, and KV caches disappear into
    `kv_append` and `attend` (a graph without cache gets them).

    Before: one public carrier function. After: one flat `adaptive.model`; the
    function is gone. When a node is in the way, each such node gets a remark, the
    function an error, the module stays as it was and the pass fails.
  }];
  let options = [Option<"maxPosition", "max-position", "int64_t", "0",
                        "positions a sequence may have where no stored rotary table says it; 0: 2048, with a remark">];
  let dependentDialects = ["::adaptive::AdaptiveDialect", "::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect"];
}

def FuseLinear : Pass<"adaptive-fuse-linear", "::mlir::ModuleOp"> {
  let summary = "Gathers elementwise ops and projections into linear ops";
  let description = [{
    `map`s that feed one `map` join it, a `map` over the results of `linear`s
    becomes their epilogue (bias, gate, residual), and linears that read the same
    rows become one with several results.

    Before and after: a flat model that computes the same.
  }];
}

def RaiseBlocks : Pass<"adaptive-raise-blocks", "::mlir::ModuleOp"> {
  let summary = "Finds the layers of a flat model";
  let description = [{
    Cuts the residual stream where nothing else is live, matches equal pieces with
    one attention each, and states them once: a `block` per kind of layer,
    `layers` with one list of weights per application, `recurse` where the same
    weights repeat.

    Before: a flat model. After: every `kv_append` and `attend` lies in a block.
  }];
}

#endif
