// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that stay within the dialect, in pipeline order.

#ifndef ADAPTIVE_TRANSFORMS_PASSES_TD
#define ADAPTIVE_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def PlanKVLayout : Pass<"adaptive-plan-kv-layout", "::mlir::ModuleOp"> {
  let summary = "Groups unrolled layers into KV levels";
  let description = [{
    Before: layers carry no level. After: one `kv_level` per set of layers that
    hold the same positions; a new level starts behind every exit point, because
    rows that left owe their entries from there on.
  }];
  let options = [Option<"page", "page", "int64_t", "64", "Positions per page">];
}

#endif
