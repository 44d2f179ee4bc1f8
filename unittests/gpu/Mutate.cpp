// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Faults in PTX text; see Mutate.h.
#include "Mutate.h"

#include <cstdio>
#include <regex>

namespace ee::gpu {
namespace {

std::string trimmed(const std::string &line) {
  size_t begin = line.find_first_not_of(" \t");
  return begin == line.npos ? "" : line.substr(begin);
}

bool startsWith(const std::string &text, const char *head) {
  return text.rfind(head, 0) == 0;
}

/// The opcode, behind a guard if there is one.
std::string opcodeOf(const std::string &line) {
  static const std::regex guard("^@!?%[A-Za-z0-9_]+\\s+");
  std::string text = std::regex_replace(trimmed(line), guard, "");
  return text.substr(0, text.find_first_of(" \t;"));
}

/// Bytes that an access touches, from its type and vector.
int accessBytes(const std::string &opcode) {
  static const std::regex type("\\.[busf](8|16|32|64)$");
  std::smatch found;
  if (!std::regex_search(opcode, found, type))
    return 0;
  int count = opcode.find(".v4.") != opcode.npos   ? 4
              : opcode.find(".v2.") != opcode.npos ? 2
                                                   : 1;
  return count * std::stoi(found[1]) / 8;
}

/// The line with `by` added to the displacement of its address.
std::string shifted(const std::string &line, int by) {
  static const std::regex address("\\[([^\\]+]+)(\\+(-?[0-9]+))?\\]");
  std::smatch found;
  if (!std::regex_search(line, found, address))
    return line;
  int old = found[3].matched ? std::stoi(found[3]) : 0;
  return found.prefix().str() + "[" + found[1].str() + "+" +
         std::to_string(old + by) + "]" + found.suffix().str();
}

class Finder {
public:
  Finder(std::vector<Mutation> &out, const std::string &line, uint32_t number)
      : out(out), line(line), number(number), opcode(opcodeOf(line)) {}

  void run() {
    if (startsWith(opcode, "bar"))
      add("barrier deleted", "");
    memory();
    shuffle();
    predicate();
    comparison();
  }

private:
  void add(const char *kind, const std::string &after) {
    if (after != line)
      out.push_back({kind, number, line, after});
  }

  void memory() {
    bool isStore = startsWith(opcode, "st.") || startsWith(opcode, "red.");
    bool isLoad =
        startsWith(opcode, "ld.") && opcode.find(".param") == std::string::npos;
    if (!isStore && !isLoad)
      return;
    if (isStore)
      add("store deleted", "");
    int bytes = accessBytes(opcode);
    if (bytes > 0)
      add("offset shifted", shifted(line, bytes));
    if (bytes > 1)
      add("offset misaligned", shifted(line, bytes / 2));
  }

  void shuffle() {
    if (!startsWith(opcode, "shfl."))
      return;
    static const std::regex lane("^(.*, )([0-9]+)(, [^,]+, [^,]+;.*)$");
    std::smatch found;
    if (std::regex_match(line, found, lane))
      add("shuffle lane", found[1].str() +
                              std::to_string(std::stoi(found[2]) ^ 1) +
                              found[3].str());
  }

  void predicate() {
    static const std::regex guard("@(!?)(%[A-Za-z0-9_]+)");
    std::smatch found;
    if (std::regex_search(line, found, guard))
      add("predicate flipped", found.prefix().str() +
                                   (found[1].length() ? "@" : "@!") +
                                   found[2].str() + found.suffix().str());
  }

  void comparison() {
    if (!startsWith(opcode, "setp."))
      return;
    static const std::pair<const char *, const char *> pairs[] = {
        {"setp.lt.", "setp.le."}, {"setp.le.", "setp.lt."},
        {"setp.gt.", "setp.ge."}, {"setp.ge.", "setp.gt."},
        {"setp.eq.", "setp.ne."}, {"setp.ne.", "setp.eq."}};
    for (auto [from, to] : pairs)
      if (size_t at = line.find(from); at != line.npos) {
        std::string after = line;
        return add("comparison", after.replace(at, 8, to));
      }
  }

  std::vector<Mutation> &out;
  const std::string &line;
  uint32_t number;
  std::string opcode;
};

template <typename Fn> void forLines(std::string_view text, Fn fn) {
  uint32_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    size_t end = std::min(text.find('\n', begin), text.size());
    fn(number, std::string(text.substr(begin, end - begin)));
    begin = end + 1;
  }
}

std::string row(const std::string &name, const Kills &k) {
  char text[160];
  std::snprintf(text, sizeof text, "%-20s %7d %8d %6d %8d %5.1f %%\n",
                name.c_str(), k.mutants, k.reported, k.wrong, k.survived(),
                k.mutants ? 100.0 * (k.reported + k.wrong) / k.mutants : 0.0);
  return text;
}

} // namespace

std::vector<Mutation> mutationsOf(std::string_view ptx) {
  std::vector<Mutation> all;
  forLines(ptx, [&](uint32_t number, const std::string &line) {
    Finder(all, line, number).run();
  });
  return all;
}

std::string mutated(std::string_view ptx, const Mutation &mutation) {
  std::string text;
  text.reserve(ptx.size() + 16);
  forLines(ptx, [&](uint32_t number, const std::string &line) {
    text += (number == mutation.line ? mutation.after : line) + "\n";
  });
  return text;
}

void MutantTable::add(const Mutation &mutation, Fate fate) {
  Kills &kills = kinds[mutation.kind];
  ++kills.mutants;
  kills.reported += fate == Fate::Reported;
  kills.wrong += fate == Fate::Wrong;
  if (fate == Fate::Survived)
    survivors.push_back(mutation);
}

Kills MutantTable::total() const {
  Kills sum;
  for (auto &[kind, kills] : kinds) {
    sum.mutants += kills.mutants;
    sum.reported += kills.reported;
    sum.wrong += kills.wrong;
  }
  return sum;
}

std::string MutantTable::text() const {
  std::string all = "fault                mutants reported  wrong survived  "
                    "kill\n";
  for (auto &[kind, kills] : kinds)
    all += row(kind, kills);
  return all + row("all", total());
}

} // namespace ee::gpu
