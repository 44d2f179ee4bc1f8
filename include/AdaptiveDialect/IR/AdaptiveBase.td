// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The adaptive dialect itself and the base class of its ops.

#ifndef ADAPTIVE_BASE_TD
#define ADAPTIVE_BASE_TD

include "mlir/IR/OpBase.td"

def Adaptive_Dialect : Dialect {
  let name = "adaptive";
  let summary = "Transformers whose depth is a per-token quantity";
  let description = [{
    Rows come first: a value of type `tensor<?xD>` holds one row per token, and
    outside attention every op acts on each row alone. Exit points are selects:
    the dense reading of a model (compute all rows, select) is its meaning, and
    every lowering must equal it.
  }];
  let cppNamespace = "::adaptive";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

class Adaptive_Op<string mnemonic, list<Trait> traits = []>
    : Op<Adaptive_Dialect, mnemonic, traits>;

// Rows of floats, of integers (token ids, positions), of decisions.
def Adaptive_Rows : RankedTensorOf<[F32]>;
def Adaptive_Ids : RankedTensorOf<[I32]>;
def Adaptive_Mask : RankedTensorOf<[I1]>;
def Adaptive_WeightTensor : RankedTensorOf<[AnyFloat, AnyInteger]>;

#endif
