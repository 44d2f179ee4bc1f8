// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The walk over a serialised model. Field numbers are those of onnx.proto.

#include "TensorIndex.h"

#include "Messages.h"

#include "llvm/ADT/StringMap.h"

using namespace adaptive;
using wire::Field;
using wire::Reader;

namespace {

// Protobuf itself stops at 100 nested messages; a graph in a graph costs three.
constexpr unsigned kMaxNesting = 32;

/// What is known of the place in the model that is being walked.
struct Scope {
  std::string prefix; ///< "" or "outer/"
  unsigned depth = 0;
  bool inFunction = false;
};

/// What names a node in keys and messages.
struct NodeNames {
  std::string name, output, opType;
};

class Scanner {
public:
  explicit Scanner(TensorCallback callback) : callback(callback) {}

  bool model(std::string_view bytes, std::string *out);
  ee::Failure takeError() { return ee::Failure{std::move(error)}; }

private:
  bool graph(std::string_view bytes, const Scope &scope, std::string *out);
  bool function(std::string_view bytes, std::string *out);
  bool node(std::string_view bytes, const Scope &scope, std::string *out);
  bool attribute(std::string_view bytes, const Scope &scope,
                 const NodeNames &node, std::string *out);
  bool sparse(std::string_view bytes, const TensorEntry &place,
              std::string *out);
  bool tensor(std::string_view bytes, TensorEntry entry, std::string *out);
  bool readTensor(std::string_view bytes, TensorEntry &entry);
  void detach(const TensorEntry &entry, const TensorRewrite &rewrite,
              std::string &out);

  std::string uniqueKey(std::string key);
  bool malformed(const char *what) {
    if (error.empty())
      error =
          std::string("malformed ") + what + " (truncated or garbled file?)";
    return false;
  }

  /// Rewrites one nested message field through `walk` into `out`.
  template <typename Walk>
  bool nested(const Field &field, std::string *out, Walk walk) {
    if (!out)
      return walk(field.payload, static_cast<std::string *>(nullptr));
    std::string body;
    if (!walk(field.payload, &body))
      return false;
    wire::appendBytesField(*out, field.number, body);
    return true;
  }

  static void copy(const Field &field, std::string *out) {
    if (out)
      out->append(field.whole);
  }

  TensorCallback callback;
  llvm::StringMap<unsigned> keys;
  std::string error;
};

/// The last value of a string field of `bytes`, which may be malformed.
std::string stringField(std::string_view bytes, uint32_t number,
                        bool first = false) {
  Reader reader(bytes);
  Field field;
  std::string value;
  while (reader.next(field)) {
    if (!field.is(number, wire::Bytes))
      continue;
    value = field.payload;
    if (first)
      break;
  }
  return value;
}

} // namespace

std::string Scanner::uniqueKey(std::string key) {
  unsigned &count = keys[key];
  ++count;
  if (count == 1)
    return key;
  return uniqueKey(key + "~" + std::to_string(count));
}

bool Scanner::model(std::string_view bytes, std::string *out) {
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    bool ok = true;
    if (field.is(7, wire::Bytes))
      ok = nested(field, out, [&](auto body, auto *to) {
        return graph(body, Scope(), to);
      });
    else if (field.is(25, wire::Bytes))
      ok = nested(field, out,
                  [&](auto body, auto *to) { return function(body, to); });
    else if (field.number != 20) // training_info: not part of inference
      copy(field, out);
    if (!ok)
      return false;
  }
  return !reader.failed() || malformed("model");
}

bool Scanner::function(std::string_view bytes, std::string *out) {
  Scope scope;
  scope.inFunction = true;
  scope.prefix = stringField(bytes, 10) + "::" + stringField(bytes, 1);
  if (std::string overload = stringField(bytes, 13); !overload.empty())
    scope.prefix += ":" + overload;
  NodeNames place{scope.prefix, scope.prefix, ""};
  scope.prefix += "/";
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    bool ok = true;
    if (field.is(7, wire::Bytes))
      ok = nested(field, out,
                  [&](auto body, auto *to) { return node(body, scope, to); });
    else if (field.is(11, wire::Bytes)) // default values of attributes
      ok = nested(field, out, [&](auto body, auto *to) {
        return attribute(body, scope, place, to);
      });
    else
      copy(field, out);
    if (!ok)
      return false;
  }
  return !reader.failed() || malformed("function");
}

bool Scanner::graph(std::string_view bytes, const Scope &scope,
                    std::string *out) {
  if (scope.depth > kMaxNesting)
    return malformed("graph: subgraphs are nested too deeply");
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    bool ok = true;
    if (field.is(1, wire::Bytes)) {
      ok = nested(field, out,
                  [&](auto body, auto *to) { return node(body, scope, to); });
    } else if (field.is(5, wire::Bytes)) {
      TensorEntry entry;
      std::string name = stringField(field.payload, 8);
      entry.key = scope.prefix + name;
      entry.where = "initializer " + quoted(entry.key);
      entry.isValue = true;
      entry.inFunction = scope.inFunction;
      ok = nested(field, out,
                  [&](auto body, auto *to) { return tensor(body, entry, to); });
    } else if (field.is(15, wire::Bytes)) {
      TensorEntry place;
      // Its name is the one of its values.
      std::string name = stringField(stringField(field.payload, 1), 8);
      place.key = scope.prefix + name;
      place.where = "sparse initializer " + quoted(place.key);
      place.inFunction = scope.inFunction;
      ok = nested(field, out,
                  [&](auto body, auto *to) { return sparse(body, place, to); });
    } else {
      copy(field, out);
    }
    if (!ok)
      return false;
  }
  return !reader.failed() || malformed("graph");
}

bool Scanner::node(std::string_view bytes, const Scope &scope,
                   std::string *out) {
  NodeNames names{stringField(bytes, 3), stringField(bytes, 2, /*first=*/true),
                  stringField(bytes, 4)};
  if (names.output.empty())
    names.output = names.name;
  if (names.name.empty())
    names.name = names.output;
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    if (!field.is(5, wire::Bytes)) {
      copy(field, out);
      continue;
    }
    if (!nested(field, out, [&](auto body, auto *to) {
          return attribute(body, scope, names, to);
        }))
      return false;
  }
  return !reader.failed() || malformed("node");
}

bool Scanner::attribute(std::string_view bytes, const Scope &scope,
                        const NodeNames &node, std::string *out) {
  std::string attrName = stringField(bytes, 1);
  std::string base = scope.prefix + node.output + "#" + attrName;
  unsigned listIndex = 0;
  auto place = [&](bool list) {
    TensorEntry entry;
    entry.key = base + (list ? "[" + std::to_string(listIndex++) + "]" : "");
    entry.where =
        "node " + quoted(node.name) + ": attribute " + quoted(attrName);
    entry.isValue = node.opType == "Constant" && attrName == "value";
    entry.inFunction = scope.inFunction;
    return entry;
  };
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    bool ok = true;
    bool isBytes = field.type == wire::Bytes;
    if (isBytes && (field.number == 5 || field.number == 10)) {
      TensorEntry entry = place(field.number == 10);
      ok = nested(field, out,
                  [&](auto body, auto *to) { return tensor(body, entry, to); });
    } else if (isBytes && (field.number == 22 || field.number == 23)) {
      TensorEntry entry = place(field.number == 23);
      ok = nested(field, out,
                  [&](auto body, auto *to) { return sparse(body, entry, to); });
    } else if (isBytes && (field.number == 6 || field.number == 11)) {
      Scope inner;
      inner.prefix = place(field.number == 11).key + "/";
      inner.depth = scope.depth + 1;
      inner.inFunction = scope.inFunction;
      ok = nested(field, out,
                  [&](auto body, auto *to) { return graph(body, inner, to); });
    } else {
      copy(field, out);
    }
    if (!ok)
      return false;
  }
  return !reader.failed() || malformed("attribute");
}

bool Scanner::sparse(std::string_view bytes, const TensorEntry &place,
                     std::string *out) {
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    if (!field.is(1, wire::Bytes) && !field.is(2, wire::Bytes)) {
      copy(field, out);
      continue;
    }
    TensorEntry entry = place;
    entry.key = place.key + (field.number == 1 ? ".values" : ".indices");
    entry.sparsePart = true;
    if (!nested(field, out,
                [&](auto body, auto *to) { return tensor(body, entry, to); }))
      return false;
  }
  return !reader.failed() || malformed("sparse tensor");
}

bool Scanner::readTensor(std::string_view bytes, TensorEntry &entry) {
  Reader reader(bytes);
  Field field;
  while (reader.next(field)) {
    switch (field.number) {
    case 1: // dims, packed or not
      if (field.type == wire::Varint) {
        entry.dims.push_back(static_cast<int64_t>(field.varint));
      } else if (field.type == wire::Bytes) {
        Reader packed(field.payload);
        uint64_t dim;
        while (!packed.atEnd() && packed.varint(dim))
          entry.dims.push_back(static_cast<int64_t>(dim));
        if (packed.failed())
          return malformed("tensor");
      }
      break;
    case 2:
      entry.dataType = static_cast<int32_t>(field.varint);
      break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 10:
    case 11:
      // An empty packed field says nothing, it only fills the list.
      if (field.type != wire::Bytes || !field.payload.empty() ||
          field.number == 6)
        entry.typed.push_back(field);
      break;
    case 8:
      entry.name = field.payload;
      break;
    case 9:
      entry.hasRaw = true;
      entry.raw = field.payload;
      break;
    case 13:
      entry.externalData.emplace_back(stringField(field.payload, 1),
                                      stringField(field.payload, 2));
      break;
    case 14:
      entry.external = field.varint == 1;
      break;
    }
  }
  return !reader.failed() || malformed("tensor");
}

void Scanner::detach(const TensorEntry &entry, const TensorRewrite &rewrite,
                     std::string &out) {
  for (int64_t dim : entry.dims)
    wire::appendVarintField(out, 1, static_cast<uint64_t>(dim));
  wire::appendVarintField(out, 2, static_cast<uint32_t>(entry.dataType));
  if (!entry.name.empty())
    wire::appendBytesField(out, 8, entry.name);
  if (rewrite.kind == TensorRewrite::Inline)
    wire::appendBytesField(out, 9, rewrite.data);
  else
    wire::appendBytesField(out, 12, std::string(kDetachedMark) + entry.key);
}

bool Scanner::tensor(std::string_view bytes, TensorEntry entry,
                     std::string *out) {
  if (!readTensor(bytes, entry))
    return false;
  entry.key = uniqueKey(std::move(entry.key));
  auto rewrite = callback(entry);
  if (!rewrite) {
    error = rewrite.error();
    return false;
  }
  if (!out)
    return true;
  if (rewrite->kind == TensorRewrite::Keep)
    out->append(bytes);
  else
    detach(entry, *rewrite, *out);
  return true;
}

ee::Expected<void> adaptive::scanModel(std::string_view bytes,
                                       TensorCallback callback,
                                       std::string *slim) {
  Scanner scanner(callback);
  if (!scanner.model(bytes, slim))
    return scanner.takeError();
  return {};
}
