// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `ee-run run --dump`: columns of the row store behind a stage, as arrays.
#include "dump.h"

#include "common.h"
#include "ee/file.h"

#include <algorithm>
#include <cstring>

namespace {

struct Place {
  std::string name;
  int32_t stage;
  size_t column;
};

std::vector<Place> placesOf(const ee::Manifest &m) {
  std::vector<Place> places;
  for (size_t s = 0; s < m.stages.size(); ++s)
    for (size_t c = 0; c < m.columns.size(); ++c) {
      if (m.columns.size() == 1)
        places.push_back({m.stages[s].name, int32_t(s), c});
      places.push_back(
          {m.stages[s].name + "." + m.columns[c].name, int32_t(s), c});
    }
  for (size_t c = 0; c < m.columns.size(); ++c)
    places.push_back({m.columns[c].name, -1, c});
  return places;
}

/// NumPy's name of the type; all have four bytes.
std::string dtypeOf(const ee::ColumnEntry &column) {
  return column.dtype == "f32" ? "f4" : "i4";
}

} // namespace

std::vector<std::string> dumpNames(const ee::Manifest &manifest) {
  std::vector<std::string> names;
  for (const Place &place : placesOf(manifest))
    names.push_back(place.name);
  return names;
}

Dumps::Dumps(const ee::Manifest &manifest,
             const std::vector<std::pair<std::string, std::string>> &wishes)
    : manifest(manifest) {
  std::vector<Place> places = placesOf(manifest);
  for (auto &[name, file] : wishes) {
    auto place = std::find_if(places.begin(), places.end(),
                              [&](const Place &p) { return p.name == name; });
    if (place == places.end()) {
      std::string known;
      for (const Place &p : places)
        known += (known.empty() ? "" : ", ") + p.name;
      throw CommandError("--dump: no stage or column " + ee::inQuotes(name) +
                         (known.empty() ? ": the rows have no columns"
                                        : ", accepted are " + known));
    }
    list.push_back({place->stage, place->column, file, {}});
  }
}

void Dumps::start(int64_t batch, int64_t steps) {
  sequence = steps;
  for (Wish &wish : list) {
    const ee::ColumnEntry &column = manifest.columns[wish.column];
    int64_t bytes;
    if (__builtin_mul_overflow(batch * steps, column.width * 4, &bytes) ||
        bytes > (int64_t(64) << 30))
      throw CommandError("--dump: column " + ee::inQuotes(column.name) +
                         " would need more than 64 GiB: fewer rows are "
                         "accepted");
    wish.array = {dtypeOf(column), {batch, steps, column.width}, {}};
    // As a float not a number, as an integer -1.
    wish.array.bytes.assign(size_t(bytes), 0xFF);
  }
}

bool Dumps::wants(int32_t stage) const {
  return std::any_of(list.begin(), list.end(), [&](const Wish &wish) {
    return wish.stage < 0 || wish.stage == stage;
  });
}

void Dumps::take(int32_t stage, std::span<const ee::LaunchRow> rows,
                 std::span<const uint8_t> columns) {
  for (Wish &wish : list) {
    if (wish.stage >= 0 && wish.stage != stage)
      continue;
    const ee::ColumnEntry &column = manifest.columns[wish.column];
    size_t bytes = size_t(column.width) * 4;
    for (size_t i = 0; i < rows.size(); ++i) {
      int64_t row = int64_t(rows[i].ticket - 1) * sequence + rows[i].position;
      std::memcpy(wish.array.bytes.data() + size_t(row) * bytes,
                  columns.data() + i * size_t(manifest.rowBytes) +
                      size_t(column.offset),
                  bytes);
    }
  }
}

void Dumps::write() const {
  for (const Wish &wish : list)
    writeFile(wish.file, formatNpy(wish.array));
}
