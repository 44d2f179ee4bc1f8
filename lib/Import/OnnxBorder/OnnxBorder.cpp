// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The one place where exceptions of ONNX's library end.

#include "OnnxBorder.h"

#include "Internal.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/stubs/logging.h>

#include <limits>
#include <new>

using namespace onnx_border;

std::string onnx_border::oneLine(const std::string &text) {
  constexpr size_t kMax = 400;
  std::string line;
  for (char c : text) {
    bool blank = static_cast<unsigned char>(c) <= ' ' || c == 0x7f;
    if (!blank)
      line += c;
    else if (!line.empty() && line.back() != ' ')
      line += ' ';
    if (line.size() >= kMax)
      return line + "...";
  }
  while (!line.empty() && line.back() == ' ')
    line.pop_back();
  return line;
}

std::string onnx_border::nodeFirst(const std::string &message) {
  std::string text = oneLine(message);
  auto between = [&](std::string_view begin, std::string_view end,
                     std::string &found) {
    size_t at = text.find(begin);
    size_t stop = at == text.npos ? at : text.find(end, at + begin.size());
    if (at == text.npos)
      return text.npos;
    at += begin.size();
    found = text.substr(at, stop == text.npos ? stop : stop - at);
    return at - begin.size();
  };
  std::string name, op;
  // The checker: "<text> ==> Context: Bad node spec for node. Name: n OpType:
  // Op".
  size_t context = text.find("==> Context:");
  if (context != text.npos &&
      between("Bad node spec for node. Name: ", " OpType: ", name) !=
          text.npos) {
    between(" OpType: ", " ", op);
    std::string rest = text.substr(0, context);
    while (!rest.empty() && rest.back() == ' ')
      rest.pop_back();
    return "node '" + name + "' (" + op + "): " + rest;
  }
  // Checker of graphs: "<text> of node: name: n OpType: Op <text>".
  size_t place = between("of node: name: ", " OpType: ", name);
  if (place != text.npos) {
    between(" OpType: ", " ", op);
    return "node '" + name + "' (" + op + "): " + text;
  }
  // Shape inference: "... (op_type:Op, node name: n): <text>".
  size_t start = between("(op_type:", ",", op);
  if (start != text.npos && between("node name: ", "): ", name) != text.npos) {
    size_t rest = text.find("): ", start);
    if (rest != text.npos)
      return "node '" + name + "' (" + op + "): " + text.substr(rest + 3);
  }
  return text;
}

namespace {

/// Parses `bytes` and runs `work` on the model; what ONNX's library throws
/// becomes text.
template <typename Result, typename Work>
ee::Expected<Result> guarded(std::string_view bytes, Work work) {
  // Protobuf would write its own lines to stderr.
  google::protobuf::LogSilencer silence;
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max()))
    return ee::Failure{
        "the model without its weights is larger than protobuf's 2 GiB"};
  try {
    onnx::ModelProto proto;
    if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      return ee::Failure{
          "not an ONNX model, or truncated (protobuf cannot parse it)"};
    if (!proto.has_graph())
      return ee::Failure{"not an ONNX model (it has no graph)"};
    normaliseDomains(proto);
    return work(proto);
  } catch (const BorderError &error) {
    return ee::Failure{error.what()};
  } catch (const std::bad_alloc &) {
    return ee::Failure{"not enough memory to load the model"};
  } catch (const std::exception &error) {
    return ee::Failure{nodeFirst(error.what())};
  } catch (...) {
    return ee::Failure{"the ONNX library failed without saying why"};
  }
}

} // namespace

ee::Expected<Model> onnx_border::loadModel(std::string_view bytes,
                                           std::string_view detachedMark,
                                           const Options &options) {
  return guarded<Model>(bytes, [&](onnx::ModelProto &proto) {
    Model model;
    model.opsetInFile = opsetOf(proto, "");
    DetachedWeights detached = hoistDetached(proto, detachedMark);
    runPipeline(proto, options, model.notes);
    extract(proto, detached, model);
    return model;
  });
}

ee::Expected<std::string> onnx_border::plainModel(std::string_view bytes,
                                                  std::string_view detachedMark,
                                                  const TensorPlacer &placer) {
  return guarded<std::string>(bytes, [&](onnx::ModelProto &proto) {
    makePlain(proto, detachedMark, placer);
    if (proto.ByteSizeLong() > size_t(std::numeric_limits<int>::max()))
      throw BorderError("with its functions inlined the model is larger than "
                        "protobuf's 2 GiB");
    return proto.SerializeAsString();
  });
}
