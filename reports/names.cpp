#include "reports/names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "policies/registry.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// A path as people name it, its last part first.
struct Parts {
  std::vector<std::string> names;
  std::string revision;  ///< the snapshot's hash in a hub's cache
  std::string label(size_t parents) const {
    if (parents > names.size()) return names[0] + "@" + revision;
    std::string text = names[0];
    for (size_t i = 1; i <= parents && i < names.size(); ++i) {
      text = names[i] + (names[i].ends_with('/') ? "" : "/") + text;
    }
    return text;
  }
};

/// "x/y" of "models--x--y", the folder of a repository in a hub's cache; "" where it is none.
std::vector<std::string> repository(const std::string& folder) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= folder.size();) {
    const size_t end = std::min(folder.find("--", begin), folder.size());
    names.push_back(folder.substr(begin, end - begin));
    begin = end + 2;
  }
  if (names.size() < 2 || (names[0] != "models" && names[0] != "datasets")) return {};
  names.erase(names.begin());
  return names;
}

Parts parts_of(const fs::path& path) {
  std::vector<std::string> names;
  Parts parts;
  const fs::path normal = path.lexically_normal();
  const std::vector<fs::path> all(normal.begin(), normal.end());
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string name = all[i].string();
    if (name.empty()) continue;
    const std::vector<std::string> of = repository(name);
    if (!of.empty() && i + 2 < all.size() && all[i + 1] == "snapshots" && !all[i + 2].empty()) {
      names.insert(names.end(), of.begin(), of.end());
      parts.revision = all[i + 2].string().substr(0, 7);
      i += 2;
    } else {
      names.push_back(name);
    }
  }
  parts.names.assign(names.rbegin(), names.rend());
  if (parts.names.empty()) parts.names = {""};
  return parts;
}

/// For each path the shortest end of it that none of the others with its last part has.
std::map<fs::path, std::string> told_apart(const std::map<fs::path, Parts>& paths) {
  std::map<std::string, std::vector<const std::pair<const fs::path, Parts>*>> same;
  for (const auto& entry : paths) same[entry.second.names[0]].push_back(&entry);
  std::map<fs::path, std::string> labels;
  for (const auto& [name, group] : same) {
    size_t most = 0;
    for (const auto* entry : group) most = std::max(most, entry->second.names.size());
    for (size_t parents = 0; parents <= most + 1; ++parents) {
      std::set<std::string> distinct;
      for (const auto* entry : group) {
        labels[entry->first] = entry->second.label(parents);
        distinct.insert(labels[entry->first]);
      }
      if (distinct.size() == group.size()) break;
    }
  }
  return labels;
}

/// What names the model: of random weights the shape's file, or the folder of a config.json.
fs::path named_path(const fs::path& path, bool random) {
  if (!random) return path;
  return path.filename() == "config.json" ? path.parent_path() : path.parent_path() / path.stem();
}

/// Of a task, what it is and what it is made from.
std::vector<fs::path> files_of(const DatasetSpec& dataset) {
  if (dataset.is_task()) {
    std::string name = task_label(dataset.task);
    for (const fs::path& text : dataset.texts) name += " " + text.filename().string();
    return {name};
  }
  return dataset.texts.empty() ? std::vector{dataset.tokens_file} : dataset.texts;
}

std::string with_more(const std::string& name, size_t files) {
  return files > 1 ? fmt::format("{} and {} more", name, files - 1) : name;
}

constexpr const char* random_weights = " (random weights)";
constexpr const char* as_stored = " (as stored)";

}  // namespace

std::string bound_of(const PolicySpec& policy) {
  const PolicyEntry* entry = policy_named(policy.name);
  return entry != nullptr ? entry->bound : "";
}

std::string model_name(const Cell& cell) {
  return parts_of(named_path(cell.model.path, cell.model.random)).names[0] +
         (cell.model.random      ? random_weights
          : cell.model.as_stored ? as_stored
                                 : "");
}

std::string dataset_name(const Cell& cell) {
  const std::vector<fs::path> files = files_of(cell.dataset);
  return with_more(parts_of(files.front()).names[0], files.size());
}

std::string label_of(const CellResult& cell) {
  const PolicySpec& policy = cell.cell.policy;
  return named_label(policy.name, cell.policy_label) +
         (policy.positions == Positions::cache ? "" : ", " + positions_label(policy));
}

std::string column_label(const CellResult& cell) {
  return printable(label_of(cell)) + (bound_of(cell.cell.policy).empty() ? "" : "†");
}

std::string line_label(const CellResult& cell) {
  return label_of(cell) + (bound_of(cell.cell.policy).empty() ? "" : " (bound)");
}

CellList measured_cells(const Results& results) {
  CellList cells;
  for (const CellResult& cell : results.cells) {
    if (cell.error.empty()) cells.push_back(&cell);
  }
  return cells;
}

Names::ModelKey Names::key(const CellResult& cell) const {
  const ModelSpec& model = cell.cell.model;
  return {named_path(model.path, model.random), model.random, model.seed, model.as_stored,
          contents_ ? cell.model_sha256 : ""};
}

Names::Names(const CellList& cells, bool contents) : contents_(contents) {
  std::map<fs::path, Parts> paths;
  std::map<fs::path, std::set<uint64_t>> seeds;
  std::map<std::pair<fs::path, uint64_t>, std::set<std::string>> hashes;
  std::map<fs::path, Parts> texts;
  std::map<fs::path, std::set<DatasetKey>> beginning;
  for (const CellResult* cell : cells) {
    const ModelKey model = key(*cell);
    const auto& [path, random, seed, stored, hash] = model;
    paths.emplace(path, parts_of(path));
    seeds[path].insert(seed);
    hashes[{path, seed}].insert(hash);
    models_[model];
    const DatasetKey files = files_of(cell->cell.dataset);
    texts.emplace(files.front(), parts_of(files.front()));
    beginning[files.front()].insert(files);
    datasets_[files];
  }
  const auto model_labels = told_apart(paths), text_labels = told_apart(texts);
  for (auto& [model, name] : models_) {
    const auto& [path, random, seed, stored, hash] = model;
    name = model_labels.at(path);
    if (random) {
      name +=
          seeds[path].size() > 1 ? fmt::format(" (random weights, seed {})", seed) : random_weights;
    }
    if (stored) name += as_stored;
    if (hashes[{path, seed}].size() > 1) name += " @" + hash.substr(0, 7);
  }
  for (auto& [files, name] : datasets_) {
    name = text_labels.at(files.front());
    if (beginning[files.front()].size() == 1) {
      name = with_more(name, files.size());
    } else {
      for (size_t i = 1; i < files.size(); ++i) name += " + " + parts_of(files[i]).names[0];
    }
  }
}

std::string Names::model(const CellResult& cell) const {
  const auto it = models_.find(key(cell));
  return it != models_.end() ? it->second : model_name(cell.cell);
}

std::string Names::dataset(const CellResult& cell) const {
  const auto it = datasets_.find(files_of(cell.cell.dataset));
  return it != datasets_.end() ? it->second : dataset_name(cell.cell);
}

}  // namespace sinkbench
