// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What passes may rely on instead of op names: exit lowerings match exit points,
// so that new kinds of them work with every lowering; programs consist of nodes.

#ifndef ADAPTIVE_INTERFACES_TD
#define ADAPTIVE_INTERFACES_TD

include "mlir/IR/OpBase.td"

def Adaptive_ExitPointOpInterface : OpInterface<"ExitPointOpInterface"> {
  let description = [{
    An op that selects, row by row, between the value of leaving here and the
    value of going on.
  }];
  let cppNamespace = "::adaptive";
  let methods = [
    InterfaceMethod<"Unrolled layers a row has run when it leaves here.",
                    "int64_t", "getExitDepth">,
    InterfaceMethod<"Position of this exit among the exits of the model, from 0.",
                    "int64_t", "getExitIndex">,
    InterfaceMethod<"Name under which artifacts and policies know the exit.",
                    "::llvm::StringRef", "getExitName">,
    InterfaceMethod<"What the exit scores.", "::adaptive::Criterion", "getExitCriterion">,
    InterfaceMethod<"Threshold that seeds the policy, in logit space.",
                    "::llvm::APFloat", "getExitThreshold">,
    InterfaceMethod<"Value of a row that leaves.", "::mlir::Value", "getExitValue">,
    InterfaceMethod<"Value of a row that goes on.", "::mlir::Value", "getRestValue">,
    InterfaceMethod<"Score per row, in logit space.", "::mlir::Value", "getExitScore">,
    InterfaceMethod<"Residual stream at the exit.", "::mlir::Value", "getExitState">,
    InterfaceMethod<"What becomes of the KV of the layers a leaving row skips.",
                    "::adaptive::KVFill", "getKVFill">
  ];
}

def Adaptive_ProgramNodeOpInterface : OpInterface<"ProgramNodeOpInterface"> {
  let description = [{
    A node of the depth program. Its edges are its operands.
  }];
  let cppNamespace = "::adaptive";
  let methods = [
    InterfaceMethod<"Kind of the node, as an artifact names it.",
                    "::llvm::StringRef", "getKind", (ins), "", [{
      return $_op.getOperationName().rsplit('.').second;
    }]>
  ];
}

def Adaptive_WeightOpInterface : OpInterface<"WeightOpInterface"> {
  let description = [{
    A symbol whose tensor an artifact stores: of the file or computed at compile
    time.
  }];
  let cppNamespace = "::adaptive";
  let methods = [
    InterfaceMethod<"Symbol under which ops use the weight.", "::llvm::StringRef",
                    "getWeightName", (ins), "", "return $_op.getSymName();">,
    InterfaceMethod<"Type of the tensor.", "::mlir::RankedTensorType", "getWeightType",
                    (ins), "", "return ::llvm::cast<::mlir::RankedTensorType>($_op.getType());">,
    InterfaceMethod<"Format of the stored bytes; none while it is not chosen.",
                    "::std::optional<::adaptive::WeightFormat>", "getWeightFormat",
                    (ins), "", "return $_op.getFormat();">
  ];
}

#endif
