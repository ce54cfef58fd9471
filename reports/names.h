// What models, texts and cells are called where several stand beside each other.
#pragma once

#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

/// For people: the last part of the model's path, or of the first text's and how many more there
/// are. A snapshot in the Hugging Face hub's cache (models--x--y/snapshots/HASH) is called y.
std::string model_name(const Cell& cell);
std::string dataset_name(const Cell& cell);

/// Of an upper bound, which is no policy to be ranked with others: what it has before them. Else
/// "".
std::string bound_of(const PolicySpec& policy);

/// "sinks 4+124", "h2o 128, original": what tells a cell from others of its model and text.
std::string label_of(const CellResult& cell);
/// The same above a column, an upper bound with its mark, and beside a line.
std::string column_label(const CellResult& cell);
std::string line_label(const CellResult& cell);

using CellList = std::vector<const CellResult*>;

/// Those that didn't fail.
CellList measured_cells(const Results& results);

/// The same names with as much more as tells apart those of several cells: of paths with the same
/// last part the folders before it ("a/hf", "b/hf"), of random weights of one shape their seed, of
/// texts that begin with the same file all of their files, and where `contents` count, of a model
/// that has changed in its place its hash.
class Names {
 public:
  explicit Names(const CellList& cells, bool contents = true);
  std::string model(const CellResult& cell) const;
  std::string dataset(const CellResult& cell) const;

 private:
  using ModelKey = std::tuple<std::filesystem::path, bool, uint64_t, bool, std::string>;
  using DatasetKey = std::vector<std::filesystem::path>;
  ModelKey key(const CellResult& cell) const;
  bool contents_;
  std::map<ModelKey, std::string> models_;
  std::map<DatasetKey, std::string> datasets_;
};

}  // namespace sinkbench
