// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Cuts the model into stages and writes the depth program:
//
//   ops A ; leave {X} ; ops B ; ops C ; yield     (C: behind the last layers)
//
//   embed -> A -> branch -+-no---> B -> filter -+-yes-> C -> emit -> embed
//                         |                     +-no--> end
//                         +-yes--> X -> emit
//                         +-owes-> B (exact) or B's KV alone (propagate)

#include "AdaptiveDialect/Transforms/Passes.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

namespace adaptive {
#define GEN_PASS_DEF_SPLITSTAGES
#include "AdaptiveDialect/Transforms/Passes.h.inc"
} // namespace adaptive

using namespace mlir;
using namespace adaptive;

/// Rows of a launch that samples: its logits are the largest rows there are,
/// and with them the arena would grow.
static constexpr int64_t samplingRows = 32;

namespace {
/// A piece of the model that becomes one stage.
struct Piece {
  std::string name;
  SmallVector<Operation *> ops;
  SmallVector<Value> results;           ///< yielded values (ends only)
  SmallVector<std::string> resultNames; ///< columns of those
  LeaveOp leave;                        ///< the leave this piece ends in
  int64_t depth = 0;                    ///< unrolled layers run after it
  int64_t order = 0;                    ///< position in program order
  bool samples = false;                 ///< ends a way: logits, then a token
};

/// Columns of the row store, by liveness over program order.
class Columns {
public:
  /// Column of a value that is defined in piece `from` and last read in
  /// `until`.
  std::string assign(Value value, int64_t from, int64_t until) {
    auto [entry, isNew] = names.insert({value, std::string()});
    if (!isNew)
      return entry->second;
    Type type = value.getType();
    for (auto [index, column] : llvm::enumerate(columns))
      if (column.type == type && column.until <= from) {
        column.until = until;
        return entry->second = "c" + std::to_string(index);
      }
    columns.push_back({type, until});
    return entry->second = "c" + std::to_string(columns.size() - 1);
  }
  std::string nameOf(Value value) const { return names.lookup(value); }

private:
  struct Column {
    Type type;
    int64_t until;
  };
  SmallVector<Column> columns;
  DenseMap<Value, std::string> names;
};

struct SplitStages : adaptive::impl::SplitStagesBase<SplitStages> {
  void runOnOperation() override {
    SmallVector<ModelOp> models(getOperation().getOps<ModelOp>());
    if (models.size() != 1) {
      getOperation().emitError("expected one model, but found ")
          << models.size();
      return signalPassFailure();
    }
    if (failed(split(models[0])))
      return signalPassFailure();
    models[0].erase();
  }

  LogicalResult split(ModelOp model) {
    for (auto leave : model.getBody().front().getOps<LeaveOp>())
      if (!isa_and_nonnull<ExitEntryOp>(
              getOperation().lookupSymbol(leave.getName())))
        return leave.emitOpError("needs exit_entry @")
               << leave.getName() << ", as adaptive-record-exits makes";
    if (!widthOfFirst<SampleOp>(model))
      return model.emitOpError(
          "must sample, as adaptive-insert-sampling makes it");
    SmallVector<Piece> trunk, ends;
    cut(model, trunk, ends);
    int64_t order = 0;
    for (Piece &piece : trunk) {
      piece.order = order++;
      if (piece.leave)
        order++; // its end runs before the next trunk piece
    }
    for (auto [index, piece] : llvm::enumerate(ends))
      piece.order = index + 1 < ends.size() ? trunk[index].order + 1 : order;

    // Last reader of every value that crosses a cut.
    llvm::MapVector<Value, std::pair<int64_t, int64_t>>
        live; // value -> (def, last use)
    DenseMap<Operation *, int64_t> home;
    auto pieces = [&](auto &&visit) {
      for (Piece &piece : trunk)
        visit(piece);
      for (Piece &piece : ends)
        visit(piece);
    };
    pieces([&](Piece &piece) {
      for (Operation *op : piece.ops)
        home[op] = piece.order;
    });
    auto read = [&](Value value, int64_t at) {
      Operation *op = value.getDefiningOp();
      if (!op || isa<UseOp>(op) || home.lookup(op) == at)
        return;
      auto &range = live.insert({value, {home.lookup(op), at}}).first->second;
      range.second = std::max(range.second, at);
    };
    pieces([&](Piece &piece) {
      for (Operation *op : piece.ops)
        op->walk([&](Operation *inner) {
          for (Value operand : inner->getOperands())
            if (operand.getParentBlock() == &model.getBody().front() ||
                (piece.leave == nullptr && !piece.results.empty()))
              read(operand, piece.order);
        });
      for (Value result : piece.results)
        read(result, piece.order);
      if (piece.leave && piece.leave.getState())
        read(piece.leave.getState(),
             trunk.back().order); // feeds the KV of all later layers
    });
    Columns columns;
    for (auto &[value, range] : live)
      columns.assign(value, range.first, range.second);

    OpBuilder builder(model);
    for (Piece &piece : trunk) {
      for (Operation *op : piece.ops)
        for (Value result : op->getResults())
          if (std::string column = columns.nameOf(result); !column.empty()) {
            piece.results.push_back(result);
            piece.resultNames.push_back(column);
          }
      if (piece.leave) {
        piece.results.push_back(piece.leave.getDecision());
        piece.resultNames.push_back("decision");
      }
      emitStage(builder, model, piece, columns);
    }
    for (Piece &piece : ends)
      emitStage(builder, model, piece, columns);
    SmallVector<SmallVector<std::string>> fills(trunk.size());
    for (auto [index, piece] : llvm::enumerate(trunk))
      if (piece.leave && piece.leave.getFill() == KVFill::Propagate)
        for (const Piece &later : ArrayRef(trunk).drop_front(index + 1))
          fills[index].push_back(
              emitFill(builder, model, piece, columns, later));
    emitProgram(builder, model, trunk, ends, fills);
    return success();
  }

  /// Width of the rows that the first op of a kind reads; 0 without one.
  template <typename OpT> static int64_t widthOfFirst(ModelOp model) {
    int64_t width = 0;
    model.walk([&](OpT op) {
      width = cast<RankedTensorType>(op->getOperand(0).getType()).getDimSize(1);
      return WalkResult::interrupt();
    });
    return width;
  }

  /// Width of the residual stream, 0 when there is none.
  static int64_t hiddenWidth(ModelOp model) {
    if (int64_t width = widthOfFirst<LayersOp>(model))
      return width;
    int64_t width = 0;
    model.walk([&](EmbedOp embed) {
      width = embed.getResult().getType().getDimSize(1);
    });
    return width;
  }

  /// Cuts at leaves, and behind the last op that appends KV.
  static void cut(ModelOp model, SmallVectorImpl<Piece> &trunk,
                  SmallVectorImpl<Piece> &ends) {
    Operation *lastLayers = nullptr;
    Block &body = model.getBody().front();
    for (Operation &op : body)
      if (isa<LayersOp, LeaveOp>(op))
        lastLayers = &op;
    if (lastLayers)
      sinkIntoHead(body, lastLayers);
    Piece current;
    int64_t depth = 0;
    bool inHead = lastLayers == nullptr;
    auto close = [&](LeaveOp leave) {
      current.name = "trunk" + std::to_string(trunk.size());
      current.leave = leave;
      current.depth = depth;
      trunk.push_back(std::move(current));
      current = Piece();
    };
    for (Operation &op : body.without_terminator()) {
      if (auto leave = dyn_cast<LeaveOp>(op)) {
        close(leave);
        Piece end;
        end.name = "exit" + std::to_string(ends.size());
        for (Operation &inner : leave.getBody().front().without_terminator())
          end.ops.push_back(&inner);
        auto yield = cast<YieldOp>(leave.getBody().front().getTerminator());
        end.results.assign(yield.getValues().begin(), yield.getValues().end());
        end.depth = leave.getDepth();
        end.resultNames.push_back("token");
        end.samples = true;
        ends.push_back(std::move(end));
      } else {
        current.ops.push_back(&op);
        if (auto layers = dyn_cast<LayersOp>(op))
          depth = std::max<int64_t>(depth,
                                    layers.getFirst() + layers.getNumLayers());
      }
      if (&op == lastLayers) {
        close(LeaveOp());
        inHead = true;
      }
    }
    if (trunk.empty() || !inHead)
      close(LeaveOp());
    current.name = "head";
    current.depth = depth;
    auto yield = cast<YieldOp>(body.getTerminator());
    current.results.assign(yield.getValues().begin(), yield.getValues().end());
    current.resultNames.push_back("token");
    current.samples = true;
    ends.push_back(std::move(current));
  }

  /// Moves ops that only the head needs behind the last layers: the head runs
  /// for rows that emit alone, and logits never cross a cut.
  static void sinkIntoHead(Block &body, Operation *lastLayers) {
    SmallVector<Operation *> candidates;
    for (Operation *op = lastLayers->getPrevNode(); op && !isa<LeaveOp>(op);
         op = op->getPrevNode())
      candidates.push_back(op);
    for (Operation *op : candidates) {
      bool onlyHead = !op->use_empty() && !isa<LayersOp>(op) &&
                      llvm::all_of(op->getUsers(), [&](Operation *user) {
                        return user->getBlock() == &body &&
                               lastLayers->isBeforeInBlock(user);
                      });
      if (onlyHead)
        op->moveAfter(lastLayers);
    }
  }

  /// Name of a column of one piece: the model's argument is the token column.
  static std::string columnOf(Value value, const Columns &columns) {
    return isa<BlockArgument>(value) ? "token" : columns.nameOf(value);
  }

  /// Clones the ops of a piece into a stage; captured values become arguments,
  /// weights are named again.
  void emitStage(OpBuilder &builder, ModelOp model, Piece &piece,
                 const Columns &columns) {
    llvm::SetVector<Operation *> own(piece.ops.begin(), piece.ops.end());
    llvm::SetVector<Value> captured;
    llvm::SetVector<Operation *> uses;
    auto capture = [&](Value value) {
      Operation *op = value.getDefiningOp();
      if (op && own.contains(op))
        return;
      if (isa_and_nonnull<UseOp>(op))
        uses.insert(op);
      else
        captured.insert(value);
    };
    for (Operation *op : piece.ops)
      for (Value operand : op->getOperands())
        capture(operand);
    for (Value result : piece.results)
      capture(result);

    SmallVector<StringRef> writes(piece.resultNames.begin(),
                                  piece.resultNames.end());
    SmallVector<std::string> readNames;
    SmallVector<Type> types;
    for (Value value : captured) {
      readNames.push_back(columnOf(value, columns));
      types.push_back(value.getType());
    }
    SmallVector<StringRef> reads(readNames.begin(), readNames.end());
    auto stage = StageOp::create(
        builder, model.getLoc(), piece.name, builder.getStrArrayAttr(reads),
        builder.getStrArrayAttr(writes), levelOf(piece), piece.depth,
        IntegerAttr(), IntegerAttr());
    if (piece.samples)
      stage.setMaxRowsAttr(builder.getI64IntegerAttr(samplingRows));
    if (piece.leave)
      stage.setExitAttr(builder.getI64IntegerAttr(piece.leave.getIndex()));
    OpBuilder::InsertionGuard guard(builder);
    Block *body = builder.createBlock(
        &stage.getBody(), {}, types,
        SmallVector<Location>(types.size(), model.getLoc()));
    IRMapping mapping;
    for (auto [value, argument] : llvm::zip(captured, body->getArguments()))
      mapping.map(value, argument);
    for (Operation *use : uses)
      builder.clone(*use, mapping);
    for (Operation *op : piece.ops)
      builder.clone(*op, mapping);
    SmallVector<Value> results;
    for (Value result : piece.results)
      results.push_back(mapping.lookupOrDefault(result));
    YieldOp::create(builder, model.getLoc(), results);
  }

  /// A stage that appends the KV of the layers of \p later from the state of an
  /// exit: one per level, since a stage appends to one.
  std::string emitFill(OpBuilder &builder, ModelOp model, const Piece &piece,
                       const Columns &columns, const Piece &later) {
    LeaveOp leave = piece.leave;
    std::string name =
        "fill" + std::to_string(int64_t(leave.getIndex())) + "_" + later.name;
    Value state = leave.getState();
    auto stage =
        StageOp::create(builder, model.getLoc(), name,
                        builder.getStrArrayAttr({columns.nameOf(state)}),
                        builder.getStrArrayAttr({}), levelOf(later),
                        piece.depth, IntegerAttr(), IntegerAttr());
    OpBuilder::InsertionGuard guard(builder);
    Block *body = builder.createBlock(&stage.getBody(), {}, {state.getType()},
                                      {model.getLoc()});
    for (Operation *op : later.ops)
      if (auto layers = dyn_cast<LayersOp>(op))
        LayersOp::create(builder, op->getLoc(), state.getType(),
                         layers.getCalleeAttr(), body->getArgument(0), Value(),
                         Value(), layers.getFirstAttr(),
                         layers.getWeightsAttr(), builder.getUnitAttr());
    YieldOp::create(builder, model.getLoc(), ValueRange());
    return name;
  }

  /// The KV level of the layers in a piece, if any.
  FlatSymbolRefAttr levelOf(const Piece &piece) {
    for (Operation *op : piece.ops)
      if (auto layers = dyn_cast<LayersOp>(op))
        for (auto level : getOperation().getOps<KVLevelOp>())
          if (level.getFirst() <= layers.getFirst() &&
              layers.getFirst() < level.getEnd())
            return FlatSymbolRefAttr::get(level.getSymNameAttr());
    return {};
  }

  /// The program, from its end to its beginning, since an edge is the node it
  /// leads to: each node is put before those that are there already.
  void emitProgram(OpBuilder &builder, ModelOp model, ArrayRef<Piece> trunk,
                   ArrayRef<Piece> ends,
                   ArrayRef<SmallVector<std::string>> fills) {
    Location loc = model.getLoc();
    auto program = ProgramOp::create(
        builder, loc, widthOfFirst<SampleOp>(model), hiddenWidth(model),
        trunk.back().depth, model.getMaxPosition(), model.getInputsAttr());
    OpBuilder::InsertionGuard guard(builder);
    Block *body = &program.getBody().emplaceBlock();
    builder.setInsertionPointToStart(body);
    auto run = [&](StringRef stage, Value next) -> Value {
      builder.setInsertionPointToStart(body);
      return RunNodeOp::create(builder, loc, stage, next);
    };
    Value end = EndNodeOp::create(builder, loc);
    builder.setInsertionPointToStart(body);
    auto emit = EmitNodeOp::create(builder, loc, end);
    Value next = run(ends.back().name, emit);
    builder.setInsertionPointToStart(body);
    next = FilterNodeOp::create(builder, loc, RowFlags::Emits, next, end);
    for (size_t index = trunk.size(); index-- > 0;) {
      if (LeaveOp leave = trunk[index].leave) {
        Value owes = fills[index].empty() ? next : end;
        for (const std::string &fill : llvm::reverse(fills[index]))
          owes = run(fill, owes);
        Value yes = run(ends[index].name, emit);
        builder.setInsertionPointToStart(body);
        next = BranchNodeOp::create(builder, loc, leave.getName(), yes, next,
                                    owes);
      }
      next = run(trunk[index].name, next);
    }
    builder.setInsertionPointToStart(body);
    emit.getNextMutable().assign(EmbedNodeOp::create(builder, loc, next));
  }
};
} // namespace
