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
    SmallVector<ExitPointOpInterface> exits;
    getOperation().walk(
        [&](ExitPointOpInterface exit) { exits.push_back(exit); });
    llvm::stable_sort(exits,
                      [](ExitPointOpInterface a, ExitPointOpInterface b) {
                        return a.getExitIndex() < b.getExitIndex();
                      });
    OpBuilder builder = OpBuilder::atBlockBegin(getOperation().getBody());
    for (auto [index, exit] : llvm::enumerate(exits)) {
      if (exit.getExitIndex() != int64_t(index)) {
        exit->emitOpError(
            "indices of exits must count from 0 without gaps, expected ")
            << index << ", but got " << exit.getExitIndex();
        return signalPassFailure();
      }
      if (exit.getKVFill() != exits[0].getKVFill()) {
        exit->emitOpError("fill must be that of exit \"")
            << exits[0].getExitName() << "\": all exits of a model share it";
        return signalPassFailure();
      }
      if (getOperation().lookupSymbol(exit.getExitName())) {
        exit->emitOpError("name \"") << exit.getExitName() << "\" is taken";
        return signalPassFailure();
      }
      ExitEntryOp::create(builder, exit.getLoc(), exit.getExitName(),
                          exit.getExitIndex(), exit.getExitDepth(),
                          exit.getExitCriterion(), exit.getExitThreshold(),
                          exit.getKVFill());
    }
  }
};
} // namespace
