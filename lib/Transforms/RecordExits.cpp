// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lists the exits of the model:
//
//   exit ... index 0 depth 24 ...   ->   exit_entry @e24 index 0 depth 24 ...

#include "AdaptiveDialect/Transforms/Passes.h"

namespace adaptive {
#define GEN_PASS_DEF_RECORDEXITS
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

namespace {
struct RecordExits : adaptive::impl::RecordExitsBase<RecordExits> {
  void runOnOperation() override {
    SmallVector<ExitOp> exits;
    getOperation().walk([&](ExitOp exit) { exits.push_back(exit); });
    llvm::sort(exits,
               [](ExitOp a, ExitOp b) { return a.getIndex() < b.getIndex(); });
    OpBuilder builder = OpBuilder::atBlockBegin(getOperation().getBody());
    for (auto [index, exit] : llvm::enumerate(exits)) {
      if (exit.getIndex() != index) {
        exit.emitOpError(
            "indices of exits must count from 0 without gaps, expected ")
            << index << ", but got " << exit.getIndex();
        return signalPassFailure();
      }
      if (exit.getFill() != exits[0].getFill()) {
        exit.emitOpError("fill must be that of exit \"")
            << exits[0].getName() << "\": all exits of a model share it";
        return signalPassFailure();
      }
      if (getOperation().lookupSymbol(exit.getName())) {
        exit.emitOpError("name \"") << exit.getName() << "\" is taken";
        return signalPassFailure();
      }
      ExitEntryOp::create(builder, exit.getLoc(), exit.getName(),
                          exit.getIndex(), exit.getDepth(), exit.getCriterion(),
                          exit.getThreshold(), exit.getFill());
    }
  }
};
} // namespace
