// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Memory and control flow of the kernel language, and where the stage ABI keeps
// rows, columns and weights.

#include "AdaptiveDialect/Conversion/Kernels/Target.h"

#include "ee/abi.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace adaptive::kernels;

/// Emits `fn` at the start of the entry block, so that its value dominates
/// everything. Loads made this way must not depend on what kernels store.
template <typename Fn> Value Kernel::atEntry(Fn fn) {
  OpBuilder::InsertionGuard guard(b);
  if (lastAtEntry)
    b.setInsertionPointAfter(lastAtEntry);
  else
    b.setInsertionPointToStart(entry);
  Value result = fn();
  lastAtEntry = &*std::prev(b.getInsertionPoint());
  return result;
}

Value Kernel::at(Value base, int64_t bytes) {
  if (bytes == 0)
    return base;
  return LLVM::GEPOp::create(b, loc, ptr, i8, base, ValueRange{c64(bytes)});
}
Value Kernel::at(Value base, Value bytes) {
  return LLVM::GEPOp::create(b, loc, ptr, i8, base, ValueRange{bytes});
}

Value Kernel::load(Type type, Value address) {
  if (auto wide = dyn_cast<VectorType>(type))
    return target->load(*this, wide, address, Value());
  return target->load(*this, type, address);
}
Value Kernel::load(VectorType type, Value address, Value mask) {
  return target->load(*this, type, address, mask);
}
void Kernel::store(Value v, Value address, Value mask) {
  target->store(*this, v, address, mask);
}
void Kernel::prefetch(Value address) { target->prefetch(*this, address); }

Values Kernel::loop(Value from, Value to, int64_t step, ValueRange init,
                    function_ref<Values(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(
      b, loc, from, to, constant(from.getType(), step), init,
      [&](OpBuilder &inner, Location, Value iv, ValueRange carried) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPoint(inner.getInsertionBlock(),
                            inner.getInsertionPoint());
        Values next = body(iv, carried);
        scf::YieldOp::create(b, loc, next);
      });
  return Values(op.getResults());
}
void Kernel::loop(Value from, Value to, int64_t step,
                  function_ref<void(Value)> body) {
  loop(from, to, step, ValueRange(), [&](Value iv, ValueRange) {
    body(iv);
    return Values();
  });
}
void Kernel::ifThen(Value condition, function_ref<void()> body) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &inner, Location) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    body();
    scf::YieldOp::create(b, loc);
  });
}
Values Kernel::ifElse(Value condition, function_ref<Values()> yes,
                      function_ref<Values()> no) {
  auto branch = [&](function_ref<Values()> body) {
    return [&, body](OpBuilder &inner, Location) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
      scf::YieldOp::create(b, loc, body());
    };
  };
  return Values(scf::IfOp::create(b, loc, condition, branch(yes), branch(no))
                    .getResults());
}

Values Kernel::forRange(int64_t from, int64_t to, ValueRange init,
                        function_ref<Values(Value, Value, ValueRange)> body) {
  int64_t full = to / lanes * lanes;
  Values carried(init);
  if (full > from)
    carried = loop(c64(from), c64(full), lanes, carried,
                   [&](Value i, ValueRange c) { return body(i, Value(), c); });
  if (full < to)
    carried = body(c64(full), constMask(to - full), carried);
  return carried;
}
Values Kernel::forLanes(int64_t width, ValueRange init,
                        function_ref<Values(Value, Value, ValueRange)> body) {
  return forRange(0, width, init, body);
}
void Kernel::forLanes(int64_t width, function_ref<void(Value, Value)> body) {
  forLanes(width, ValueRange(), [&](Value i, Value mask, ValueRange) {
    body(i, mask);
    return Values();
  });
}

Values Kernel::sumRow(int64_t width, size_t count,
                      function_ref<Values(Value, Value, ValueRange)> body) {
  Values zeros(count, vcf(0));
  auto ended = [&](ValueRange chains) {
    return Values(
        llvm::map_range(chains, [&](Value c) { return reduceAdd(c); }));
  };
  auto added = [&](ValueRange totals, ValueRange sums) {
    Values next;
    for (auto [total, sum] : llvm::zip_equal(totals, sums))
      next.push_back(add(total, sum));
    return next;
  };
  int64_t whole = width / rowBlock * rowBlock;
  if (whole == 0)
    return ended(forRange(0, width, zeros, body));
  Values totals =
      loop(c64(0), c64(whole), rowBlock, Values(count, cf(0)),
           [&](Value from, ValueRange carried) {
             Values chains = loop(
                 from, add(from, rowBlock), lanes, zeros,
                 [&](Value i, ValueRange c) { return body(i, Value(), c); });
             return added(carried, ended(chains));
           });
  if (whole < width)
    totals = added(totals, ended(forRange(whole, width, zeros, body)));
  return totals;
}

Value Kernel::field(size_t offset, Type type) {
  Value &value = fields[{offset, type}];
  if (!value)
    value = atEntry([&] { return load(type, at(args, int64_t(offset))); });
  return value;
}
Value Kernel::rowCount() {
  if (!count) {
    Value pointer = field(offsetof(ee_stage_args, n_active), ptr);
    count = atEntry([&] { return sext(load(i32, pointer), i64); });
  }
  return count;
}
Value Kernel::slot(Value row) {
  Value list = field(offsetof(ee_stage_args, rows), ptr);
  return sext(load(i32, at(list, row, 4)), i64);
}
Value Kernel::column(size_t offset, Value row, Type type) {
  Value base = field(offsetof(ee_stage_args, columns) + offset, ptr);
  return load(type ? type : i32, at(base, slot(row), 4));
}
Value Kernel::offset(int64_t value) {
  return atEntry([&] { return target->offset(*this, value); });
}
const Kernel::Place &Kernel::place(const RowBuffer &buffer) {
  auto key =
      std::tuple(int(buffer.kind), buffer.perRow, buffer.offset, buffer.stride);
  auto [entry, isNew] = places.try_emplace(key);
  Place &place = entry->second;
  if (isNew && buffer.kind == RowBuffer::Arena)
    place.perRow = offset(buffer.perRow);
  if (isNew && (buffer.kind == RowBuffer::RowStore ||
                buffer.kind == RowBuffer::Criteria))
    place.offset = offset(buffer.offset);
  if (isNew &&
      (buffer.kind == RowBuffer::Arena || buffer.kind == RowBuffer::RowStore))
    place.stride = offset(buffer.stride);
  return place;
}
Value Kernel::address(const RowBuffer &buffer, Value row) {
  auto columnBase = [&](size_t offset) {
    return field(offsetof(ee_stage_args, columns) + offset, ptr);
  };
  const Place &of = place(buffer);
  switch (buffer.kind) {
  case RowBuffer::Arena: {
    Value base =
        at(field(offsetof(ee_stage_args, arena), ptr),
           mul(field(offsetof(ee_stage_args, max_rows), i64), of.perRow));
    return at(base, mul(row, of.stride));
  }
  case RowBuffer::RowStore:
    return at(at(field(offsetof(ee_stage_args, row_store), ptr),
                 mul(slot(row), of.stride)),
              of.offset);
  case RowBuffer::Token:
    return at(columnBase(offsetof(ee_rows, token)), slot(row), 4);
  case RowBuffer::Decision:
    return at(columnBase(offsetof(ee_rows, decision)), slot(row), 4);
  case RowBuffer::Criteria:
    return at(at(columnBase(offsetof(ee_rows, criteria)), slot(row),
                 4 * EE_MAX_EXITS),
              of.offset, 4);
  }
  llvm_unreachable("all kinds of row buffers are handled");
}
Value Kernel::weight(const WeightRef &ref) {
  Value &value = weights[{ref.index, ref.perLayer}];
  if (value)
    return value;
  Value table = field(offsetof(ee_stage_args, weights), ptr);
  Value index = offset(ref.index);
  value = atEntry([&] {
    Value entryIndex = index;
    if (ref.perLayer)
      entryIndex = add(entryIndex, firstWeight);
    return load(ptr, at(table, entryIndex, 8));
  });
  return value;
}
Value Kernel::workerScratch() {
  if (!scratchBase) {
    Value base = field(offsetof(ee_stage_args, worker_scratch), ptr);
    Value bytes = field(offsetof(ee_stage_args, worker_scratch_bytes), i64);
    scratchBase = atEntry([&] { return at(base, mul(worker, bytes)); });
  }
  return scratchBase;
}
Value Kernel::record(size_t arrayOffset, Value index, int64_t size) {
  return at(field(arrayOffset, ptr), index, size);
}
