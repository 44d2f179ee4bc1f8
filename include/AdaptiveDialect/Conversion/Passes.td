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

//===-- Functions: the general path ---------------------------------------===//

def OnnxToLinalg : Pass<"onnx-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Lowers a carrier graph to linalg on tensors, whatever it computes";
  let description = [{
    Each node becomes `linalg`, `tensor`, `arith`, `math` and `scf` ops; what can
    only be checked at run time (dimensions that must agree, indices, bounds)
    becomes a `cf.assert` that names the node. Calls of model-local functions are
    lowered in place, `ai.adaptive` ones too: all rows are computed, then selected.

    Before: the module of the importer. After: its `adaptive.weight`s and one
    `func.func @main` on ranked tensors of signless elements, whose arguments and
    results carry `ee.name`. When operators have no lowering, each such node gets
    an error, the module stays as it was and the pass fails.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect"];
}

def VerifyFunction : Pass<"adaptive-verify-function", "::mlir::ModuleOp"> {
  let summary = "Checks that a module in function form can be compiled";
  let description = [{
    F1: the module holds weights, tables and one public `func.func @main` of one
    block. F2: there is a result; arguments and results are ranked tensors of f32, f64, f16, bf16,
    i1, i8, i16, i32 or i64, and `ee.name` names each, different among arguments
    and among results. F3: `ee.dims`, if there, has a string per dimension (a
    name, or empty), and `ee.dtype` says "u8" to "u64" of an integer of that
    width that is unsigned. F4: each op is of linalg, tensor, arith, scf or math
    (functions with an expansion), or is `adaptive.use`, `cf.assert`,
    `affine.apply`, `affine.min` or `affine.max`. F5: values are indices, numbers
    of the types above or integers of other widths up to 64, and ranked tensors
    of them; only a weight may have unsigned elements, and `tensor.bitcast` makes
    them signless.

    Changes nothing.
  }];
}

def WeightsToArguments : Pass<"adaptive-weights-to-arguments", "::mlir::ModuleOp"> {
  let summary = "Makes the weights of a function its last arguments";
  let description = [{
    Before: function form. After: no `adaptive.use` is left; the arguments after
    those of the model are the weights in the order of their symbols, and no
    argument may be written in place.
  }];
}

def PrepareFunction : Pass<"adaptive-prepare-function", "::mlir::ModuleOp"> {
  let summary = "Decomposes composite ops and fuses elementwise ones";
  let description = [{
    `linalg.softmax`, `tensor.concat` and named linalg ops become generics and
    slices; an elementwise generic joins its only reader where no value is
    computed twice. Fast-math flags go.

    Before and after: a function that computes the same.
  }];
  let dependentDialects = ["::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
                           "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::affine::AffineDialect"];
}

def TileContractions : Pass<"adaptive-tile-contractions", "::mlir::ModuleOp"> {
  let summary = "Computes matrix products in tiles of registers";
  let description = [{
    A `linalg.generic` on buffers that multiplies and adds f32 or f64 over a
    contracted dimension becomes loops over tiles of `rows` by `columns` (half as
    many in f64), the right side packed strip by strip. Each element is one chain
    of fused multiply-adds, whatever the sizes.

    Before and after: a function that computes the same but for rounding.
  }];
  let options = [
    Option<"rows", "rows", "int64_t", "6", "rows of a tile">,
    Option<"columns", "columns", "int64_t", "16", "f32 columns of a tile">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
                           "::mlir::vector::VectorDialect"];
}

def OrderLoops : Pass<"adaptive-order-loops", "::mlir::ModuleOp"> {
  let summary = "Puts a loop over neighbours in memory innermost";
  let description = [{
    In a `linalg.generic` a parallel loop whose neighbours are neighbours in every
    operand (or the same element of an input) becomes the innermost one. Sums add
    the same terms in the same order. Copies between buffers with strides become
    generics.

    Before and after: a function that computes the same.
  }];
}

def ExpandMath : Pass<"adaptive-expand-math", "::mlir::ModuleOp"> {
  let summary = "Writes out functions that would be library calls";
  let description = [{
    Elementary functions become arithmetic: the kernels' own on f32, series in
    f64 for the others. Remainders of floats and conversions of f64 and integers
    to f16 and bf16 too. Integer divisions are guarded: by zero with an
    assertion, MIN / -1 is MIN.

    Before: scalar ops on f32 and f64. After: none of them needs a library or
    traps.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::LLVM::LLVMDialect"];
}

def LowerRuntimeCalls : Pass<"adaptive-lower-runtime-calls", "::mlir::ModuleOp"> {
  let summary = "Sends allocations and failed assertions to the runtime";
  let description = [{
    `@main` gets a first argument, the struct of the function ABI. Allocation and
    release call the runtime through it; a failed `cf.assert`, or an allocation
    that the runtime refuses, stores its message there and returns.

    Before: one function of basic blocks over memrefs. After: no allocation and
    no assertion is left.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect",
                           "::mlir::ub::UBDialect"];
}

//===-- The oracle of all kernels -----------------------------------------===//

def AdaptiveToLinalg : Pass<"adaptive-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Says in linalg, arith, math and tensor what kernel ops mean";
  let description = [{
    The decomposition of an op is the oracle of its kernels on every backend: no
    packing, no pages, sums in f64 that are rounded once, exp and log in f32.

    Before: functions of kernel ops over tensors, weights among the arguments.
    After: no op of this dialect. Columns of the row store that ops read without
    naming them are further arguments with `adaptive.column = "position"` (also
    sequence, policy, script, flags, depth: tensor<?xi32>, by row; `policies`:
    tensor<?x64xi32>, the words of the policy records). Keys and values are dense:
    arguments `keys` and `values`, tensor<?x?xWxf32> [sequence, position, width],
    instead of a KV value, or as what a `kv_append` finds; the columns and the KV
    that ops change are further results with the same attribute.

    `sample` is that of temperature 0. `leave` has no decomposition: it changes
    which rows are in the launch, which no function of tensors can.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
                           "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect"];
}

#endif
