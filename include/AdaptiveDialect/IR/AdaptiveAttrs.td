// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Enums of the dialect: what an exit looks at, what becomes of skipped KV.

#ifndef ADAPTIVE_ATTRS_TD
#define ADAPTIVE_ATTRS_TD

include "AdaptiveDialect/IR/AdaptiveBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

class Adaptive_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let genSpecializedAttr = 0;
  let cppNamespace = "::adaptive";
}

def Adaptive_Criterion : Adaptive_Enum<"Criterion", "what an exit point scores", [
  I32EnumAttrCase<"MaxProb", 0, "max_prob">,
  I32EnumAttrCase<"Margin", 1, "margin">,
  I32EnumAttrCase<"Entropy", 2, "entropy">,
  I32EnumAttrCase<"Cosine", 3, "cosine">,
  I32EnumAttrCase<"Probe", 4, "probe">]>;
def Adaptive_CriterionAttr : EnumAttr<Adaptive_Dialect, Adaptive_Criterion, "criterion">;

def Adaptive_KVFill : Adaptive_Enum<"KVFill", "what becomes of the KV of skipped layers", [
  I32EnumAttrCase<"Exact", 0, "exact">,
  I32EnumAttrCase<"Propagate", 1, "propagate">]>;
def Adaptive_KVFillAttr : EnumAttr<Adaptive_Dialect, Adaptive_KVFill, "kv_fill">;

def Adaptive_NormKind : Adaptive_Enum<"NormKind", "normalisation of a row", [
  I32EnumAttrCase<"RMS", 0, "rms">,
  I32EnumAttrCase<"Layer", 1, "layer">]>;
def Adaptive_NormKindAttr : EnumAttr<Adaptive_Dialect, Adaptive_NormKind, "norm">;

def Adaptive_WeightFormat : Adaptive_Enum<"WeightFormat", "how the bytes of a weight are laid out for kernels", [
  I32EnumAttrCase<"Plain", 0, "plain">,
  I32EnumAttrCase<"F32", 1, "f32">,
  I32EnumAttrCase<"BF16", 2, "bf16">,
  I32EnumAttrCase<"Q8", 3, "q8">,
  I32EnumAttrCase<"Q4", 4, "q4">]>;
def Adaptive_WeightFormatAttr : EnumAttr<Adaptive_Dialect, Adaptive_WeightFormat, "format">;

def Adaptive_InputRole : Adaptive_Enum<"InputRole", "what an input of the file means", [
  I32EnumAttrCase<"InputIds", 0, "input_ids">,
  I32EnumAttrCase<"AttentionMask", 1, "attention_mask">,
  I32EnumAttrCase<"PositionIds", 2, "position_ids">,
  I32EnumAttrCase<"CachePosition", 3, "cache_position">,
  I32EnumAttrCase<"Past", 4, "past">]>;

def Adaptive_InputAttr : AttrDef<Adaptive_Dialect, "Input"> {
  let mnemonic = "input";
  let summary = "an input of the file a model came from";
  let description = [{
    Its name in the file, and what the runtime feeds it with.
    ```mlir
    #adaptive.input<"input_ids" : input_ids>
    ```
  }];
  let parameters = (ins StringRefParameter<"name in the file">:$name,
                        EnumParameter<Adaptive_InputRole>:$role);
  let assemblyFormat = "`<` $name `:` $role `>`";
}
def Adaptive_InputsAttr : TypedArrayAttrBase<Adaptive_InputAttr, "inputs of a model">;

def Adaptive_RowFlags : I32BitEnumAttr<"RowFlags", "flags of a row that a program asks for", [
  I32BitEnumAttrCaseBit<"Emits", 2, "emits">]> {
  let genSpecializedAttr = 0;
  let cppNamespace = "::adaptive";
}
def Adaptive_RowFlagsAttr : EnumAttr<Adaptive_Dialect, Adaptive_RowFlags, "row_flags">;

#endif
