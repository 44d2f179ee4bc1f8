// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels for NVIDIA GPUs: the 16 lanes of a wide value are 16 threads, half a
// warp, and a wide type is a vector of what one lane holds. Scalars are
// computed by all 16 alike.
//
// The two halves of a warp may run different items and so take different
// branches: whatever looks across lanes names only its own half.

#include "AdaptiveDialect/Conversion/Kernels/Target.h"
#include "AdaptiveDialect/Conversion/NVPTX/Ptx.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace adaptive;
using namespace adaptive::kernels;

namespace {

/// Device memory; a load from it needs no look at what the address points to.
constexpr unsigned globalSpace = 1;

class LaneTarget : public Target {
public:
  StringRef name() const override { return "nvptx"; }
  Type pointer(MLIRContext *context) const override {
    return LLVM::LLVMPointerType::get(context, globalSpace);
  }

  void begin(Kernel &k, ModuleOp module, StringRef name) const override;
  Value offset(Kernel &k, int64_t value) const override;

  VectorType wide(Type element, int64_t perLane) const override {
    return VectorType::get({perLane}, element);
  }
  Value constMask(Kernel &k, int64_t count) const override {
    return vectorOf(k, k.cmp(Cmp::LT, k.lane, k.c32(int32_t(count))));
  }
  Value laneIds(Kernel &k) const override { return vectorOf(k, k.lane); }
  Value splat(Kernel &k, Value scalar) const override {
    return vectorOf(k, scalar);
  }
  Value extract(Kernel &k, Value vector, int64_t lane) const override {
    return shuffle(k, "idx", elementOf(k, vector), lane);
  }
  Value reduce(Kernel &k, Value vector,
               function_ref<Value(Value, Value)> combine) const override;
  Value popcount(Kernel &k, Value mask) const override;

  using Target::load;
  Value load(Kernel &k, VectorType type, Value address,
             Value mask) const override;
  void store(Kernel &k, Value v, Value address, Value mask) const override;

  Value dotBytes(Kernel &k, Value sum, Value weights, Value x,
                 bool small) const override;

  int64_t accumulators() const override { return 6; }
  int64_t tileWidth(Format format, int64_t rows) const override;

private:
  /// A wide value of what each lane has, and back.
  static Value vectorOf(Kernel &k, Value mine);
  static Value elementOf(Kernel &k, Value vector);
  /// "idx": the value of lane `operand`; "down": of the lane `operand` above.
  static Value shuffle(Kernel &k, const char *kind, Value mine,
                       int64_t operand);
  static void sync(Kernel &k);
  static Value laneAddress(Kernel &k, Type type, Value address);
};

} // namespace

const Target &nvptx::laneTarget() {
  static const LaneTarget target;
  return target;
}

std::string nvptx::profileName() {
  return "nvptx-lane-" + std::to_string(arithmeticVersion);
}

Value LaneTarget::vectorOf(Kernel &k, Value mine) {
  VectorType type = VectorType::get({1}, mine.getType());
  Value poison = LLVM::PoisonOp::create(k.b, k.loc, type);
  return LLVM::InsertElementOp::create(k.b, k.loc, type, poison, mine,
                                       k.c32(0));
}
Value LaneTarget::elementOf(Kernel &k, Value vector) {
  return LLVM::ExtractElementOp::create(k.b, k.loc, vector, k.c32(0));
}

Value LaneTarget::shuffle(Kernel &k, const char *kind, Value mine,
                          int64_t operand) {
  bool isFloat = mine.getType().isF32();
  std::string name =
      std::string("llvm.nvvm.shfl.sync.") + kind + (isFloat ? ".f32" : ".i32");
  // Bits 8-12: which bits of a lane's number stay; bits 0-4: the last lane.
  constexpr int32_t halfWarp = 0x101f;
  return k.intrinsic(
      name, mine.getType(),
      {k.laneGroup, mine, k.c32(int32_t(operand)), k.c32(halfWarp)});
}

/// Waits for the other lanes of the item and orders memory among them.
void LaneTarget::sync(Kernel &k) {
  LLVM::CallIntrinsicOp::create(k.b, k.loc,
                                k.b.getStringAttr("llvm.nvvm.bar.warp.sync"),
                                ValueRange{k.laneGroup});
}

Value LaneTarget::laneAddress(Kernel &k, Type type, Value address) {
  auto vector = cast<VectorType>(type);
  int64_t bytes = vector.getNumElements() * elementBytes(vector);
  return k.at(address, k.zext(k.lane, k.i64), bytes);
}

void LaneTarget::begin(Kernel &k, ModuleOp module, StringRef name) const {
  k.b.setInsertionPointToEnd(module.getBody());
  auto type =
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(k.b.getContext()),
                                  {k.ptr, k.i64, k.i64, k.i64, k.i64});
  auto func = LLVM::LLVMFuncOp::create(k.b, k.loc, name, type);
  func.setCConv(LLVM::CConv::PTX_Kernel);
  func.setPassthroughAttr(k.b.getArrayAttr(
      {k.b.getStringAttr("nounwind"), k.b.getStringAttr("no-builtins")}));
  k.function = func;
  k.entry = func.addEntryBlock(k.b);
  k.b.setInsertionPointToEnd(k.entry);
  k.args = k.entry->getArgument(0);
  k.kvLayer = k.entry->getArgument(1);
  k.firstWeight = k.entry->getArgument(2);
  Value perRow = k.entry->getArgument(3), fixed = k.entry->getArgument(4);

  auto special = [&](StringRef of) {
    return k.intrinsic(("llvm.nvvm.read.ptx.sreg." + of).str(), k.i32, {});
  };
  Value thread = special("tid.x"), threads = special("ntid.x");
  k.lane = k.andi(thread, k.c32(15));
  k.laneGroup =
      LLVM::ShlOp::create(k.b, k.loc, k.c32(0xffff), k.andi(thread, k.c32(16)));
  Value inBlock = k.lshr(threads, 4);
  Value groups = k.zext(k.mul(special("nctaid.x"), inBlock), k.i64);
  k.worker = k.zext(
      k.add(k.mul(special("ctaid.x"), inBlock), k.lshr(thread, 4)), k.i64);
  Value items = k.add(k.mul(k.rowCount(), perRow), fixed);
  Value chunk = k.div(k.add(items, k.sub(groups, k.c64(1))), groups);
  k.begin = k.minS(k.mul(k.worker, chunk), items);
  k.end = k.minS(k.add(k.begin, chunk), items);
}

/// What differs between the places an op is used at comes from the launch, so
/// that equal kernels are one.
Value LaneTarget::offset(Kernel &k, int64_t value) const {
  auto func = cast<LLVM::LLVMFuncOp>(k.function);
  Value argument = k.entry->addArgument(k.i64, k.loc);
  func.setFunctionType(LLVM::LLVMFunctionType::get(
      LLVM::LLVMVoidType::get(k.b.getContext()),
      SmallVector<Type>(k.entry->getArgumentTypes())));
  k.offsets.push_back(value);
  return argument;
}

/// The tree of the wide form: shuffles down, since maxF is not commutative for
/// NaN and signed zeros; the lower lane's value is the left operand.
Value LaneTarget::reduce(Kernel &k, Value vector,
                         function_ref<Value(Value, Value)> combine) const {
  Value mine = elementOf(k, vector);
  for (int64_t half = lanes / 2; half >= 1; half /= 2)
    mine = combine(mine, shuffle(k, "down", mine, half));
  return shuffle(k, "idx", mine, 0);
}

Value LaneTarget::popcount(Kernel &k, Value mask) const {
  Value votes = k.intrinsic("llvm.nvvm.vote.ballot.sync", k.i32,
                            {k.laneGroup, elementOf(k, mask)});
  return LLVM::CtPopOp::create(k.b, k.loc, k.i32, k.andi(votes, k.laneGroup));
}

Value LaneTarget::load(Kernel &k, VectorType type, Value address,
                       Value mask) const {
  auto plain = [&]() -> Value {
    return Target::load(k, type, laneAddress(k, type, address));
  };
  if (!mask)
    return plain();
  return k.ifElse(
      elementOf(k, mask), [&] { return Values{plain()}; },
      [&] { return Values{k.zero(type)}; })[0];
}

/// Other lanes may still have to read what was there, and will read what is
/// stored: both sides of a store are synchronised.
void LaneTarget::store(Kernel &k, Value v, Value address, Value mask) const {
  sync(k);
  auto write = [&](Value place) {
    LLVM::StoreOp::create(k.b, k.loc, v, place, elementBytes(v.getType()));
  };
  if (!isa<VectorType>(v.getType()))
    k.ifThen(k.cmp(Cmp::EQ, k.lane, k.c32(0)), [&] { write(address); });
  else if (mask)
    k.ifThen(elementOf(k, mask),
             [&] { write(laneAddress(k, v.getType(), address)); });
  else
    write(laneAddress(k, v.getType(), address));
  sync(k);
}

Value LaneTarget::dotBytes(Kernel &k, Value sum, Value weights, Value x,
                           bool) const {
  auto word = [&](Value v) { return k.bitcast(v, k.i32); };
  Value dot = k.intrinsic("llvm.nvvm.idp4a.u.s", k.i32,
                          {word(weights), word(x), word(sum)});
  return k.bitcast(dot, k.vi32);
}

int64_t LaneTarget::tileWidth(Format format, int64_t rows) const {
  // Integer sums have two accumulators per output.
  if (format == Format::Q8 || format == Format::Q4)
    return rows == 1 ? 2 : 1;
  return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
}
