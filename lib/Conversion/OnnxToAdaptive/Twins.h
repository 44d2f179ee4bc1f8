// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The same stored matrix under a second symbol, read the other way round.

#ifndef ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_TWINS_H
#define ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_TWINS_H

#include "AdaptiveDialect/IR/Adaptive.h"

namespace adaptive::raising {

/// The weight that is the transpose of `weight` (a stored matrix): one that
/// exists, or a new one behind it, for which `isNew` becomes true. Null for
/// other weights.
inline WeightOp transposedTwin(WeightOp weight, mlir::SymbolTable &symbols,
                               bool &isNew) {
  isNew = false;
  auto type = llvm::cast<mlir::RankedTensorType>(weight.getType());
  if (type.getRank() != 2 || weight.getValue())
    return {};
  auto turned = mlir::RankedTensorType::get(
      {type.getDimSize(1), type.getDimSize(0)}, type.getElementType());
  llvm::StringRef base = weight.getSymName();
  std::string name = base.consume_back(".T") ? base.str() : (base + ".T").str();
  if (auto known = symbols.lookup<WeightOp>(name))
    if (known.getType() == turned && known.getTensor() == weight.getTensor() &&
        known.getSource() == weight.getSource() &&
        known.getTransposed() != weight.getTransposed())
      return known;
  mlir::OpBuilder detached(weight.getContext());
  auto twin = WeightOp::create(detached, weight.getLoc(), name, turned,
                               weight.getSource(), weight.getTensor(),
                               !weight.getTransposed(), weight.getHashAttr());
  symbols.insert(twin, std::next(weight->getIterator()));
  isNew = true;
  return twin;
}

} // namespace adaptive::raising

#endif // ADAPTIVE_LIB_CONVERSION_ONNXTOADAPTIVE_TWINS_H
