// sinkbench list: the names that experiments and checkpoints may use.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/configs_folder.h"
#include "datasets/gguf_pre_tokenizers.h"
#include "eval/experiment/storage_spec.h"
#include "eval/tasks/task.h"
#include "models/ggml_blocks.h"
#include "models/supported.h"
#include "policies/plugin.h"
#include "policies/registry.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct ListOptions {
  std::string what, policy;  // or the name of a task
  std::string folder;        ///< empty: the program's own
  std::string format = "table";
  std::vector<fs::path> plugins;
};

/// Rows under names; every value is text.
struct List {
  std::vector<std::string> names;
  std::vector<std::vector<std::string>> rows = {};
  std::string note = {};  // below a table
};

List policies() {
  const std::vector<std::string> common = common_parameter_names();
  List list{{"policy", "keeps", "parameters of its own", "presets", "source"}};
  for (const PolicyEntry& entry : policy_registry()) {
    std::string parameters;
    for (const PolicyParameter& parameter : entry.parameters) {
      const bool shared = entry.is_score_policy() &&
                          std::find(common.begin(), common.end(), parameter.name) != common.end();
      if (shared || parameter.name == "prompt") continue;
      if (!parameters.empty()) parameters += ", ";
      parameters += parameter.name;
      const bool always = !parameter.only_with;
      if (parameter.fallback && always)
        parameters += fmt::format(" ({})", to_string(*parameter.fallback));
    }
    std::string presets;
    for (const PolicyPreset& preset : entry.presets) {
      presets += (presets.empty() ? "" : ", ") + preset.name;
    }
    list.rows.push_back({entry.name, entry.summary, parameters, presets, entry.source});
  }
  list.note = "`sinkbench list policies NAME` has the parameters of one, those of all by score too";
  return list;
}

/// What one policy takes.
List parameters_of(const PolicyEntry& entry) {
  List list{{"parameter", "default", "values", "meaning"}};
  for (const PolicyParameter& parameter : entry.parameters) {
    std::string fallback = parameter.fallback   ? to_string(*parameter.fallback)
                           : parameter.optional ? "-"
                                                : "required";
    if (parameter.only_with) {
      fallback +=
          fmt::format(", with {}: {}", parameter.only_with->name, parameter.only_with->word);
    }
    list.rows.push_back({parameter.name, fallback, values_of(parameter), parameter.meaning});
  }
  std::string positions = to_string(Positions::cache);
  for (const Positions other : entry.positions) positions += " or " + to_string(other);
  if (!entry.positions.empty()) {
    list.rows.push_back({"positions", to_string(Positions::cache), positions,
                         "how far a query stands from what it sees"});
  }
  if (!entry.presets.empty()) {
    std::string names, meanings;
    for (const PolicyPreset& preset : entry.presets) {
      names += (names.empty() ? "" : " or ") + preset.name;
      meanings += (meanings.empty() ? "" : "; ") + preset.meaning;
    }
    list.rows.push_back({"preset", "-", names, meanings});
  }
  if (!entry.bound.empty()) {
    list.note = fmt::format("{}: an upper bound and no policy to be ranked: it {}", entry.name,
                            entry.bound);
  }
  if (entry.positions.size() + entry.presets.size() + entry.parameters.size() == 0) {
    list.note = entry.name + " takes no parameters";
  }
  return list;
}

List tasks() {
  List list{{"task", "what", "parameters", "source"}};
  for (const TaskEntry& entry : task_registry()) {
    std::vector<std::string> parameters;
    for (const TaskParameter& parameter : entry.parameters) {
      parameters.push_back(fmt::format("{} ({})", parameter.name, to_string(parameter.fallback)));
    }
    if (entry.texts != TaskTexts::none) parameters.emplace_back("text");
    list.rows.push_back(
        {entry.name, entry.summary, fmt::format("{}", fmt::join(parameters, ", ")), entry.source});
  }
  list.note = "`sinkbench list tasks NAME` has the parameters of one";
  return list;
}

/// What one task takes.
List parameters_of(const TaskEntry& entry) {
  List list{{"parameter", "default", "values", "meaning"}};
  for (const TaskParameter& parameter : entry.parameters) {
    list.rows.push_back(
        {parameter.name, to_string(parameter.fallback), values_of(parameter), parameter.meaning});
  }
  if (entry.texts == TaskTexts::filler) {
    list.rows.push_back({"text", "five sentences, repeated", "a file, a folder or a list of them",
                         "what samples are filled with"});
  }
  if (entry.texts == TaskTexts::required) {
    list.rows.push_back({"text", "required", "a file of JSON lines or a list of them",
                         "the questions, as the Hugging Face hub or AI2 has ARC"});
  }
  if (entry.texts != TaskTexts::none) {
    list.rows.push_back({"get", "-", "words", "how to get the text, for whoever doesn't have it"});
  }
  return list;
}

/// What `kv` may be. Bits are those of heads of 128 numbers, scales included; docs/storage.md
/// defines the forms.
List storage() {
  const std::map<std::string, std::pair<const char*, const char*>> what = {
      {"native", {"as dtype", "the run's own precision"}},
      {"float16", {"16", "IEEE's half precision"}},
      {"bfloat16", {"16", "float32's upper half"}},
      {"float8_e4m3", {"8", "OCP's E4M3, with a scale of 1"}},
      {"q8_0", {"8.5", "ggml's blocks of 32, a scale"}},
      {"q5_1", {"6", "the same, a scale and a least"}},
      {"q5_0", {"5.5", "the same, a scale"}},
      {"q4_1", {"5", "the same, a scale and a least"}},
      {"q4_0", {"4.5", "the same, a scale"}},
      {"int8", {"8.125", "a scale for a token and head"}},
      {"int4", {"4.125", "the same"}},
      {"kivi8", {"9", "KIVI: groups of 32 tokens or channels; the newest 128 as they are"}},
      {"kivi4", {"5", "the same"}},
      {"kivi2", {"3", "the same"}}};
  List list{{"kv", "bits (heads of 128)", "what"}};
  for (const std::string& name : storage_formats()) {
    if (const auto it = what.find(name); it != what.end()) {
      list.rows.push_back({name, it->second.first, it->second.second});
      continue;
    }
    const int bits = name[std::string("turboquant").size()] - '0';
    const bool whole = !name.ends_with("_wht32");
    list.rows.push_back(
        {name, fmt::format("{}", bits + (whole ? 0.125 : 0.5)),
         whole ? "TurboQuant, by a random rotation" : "the same, by Hadamard's in blocks of 32"});
  }
  list.note = "also {keys: ..., values: ..., rotate: true}; docs/storage.md defines each";
  return list;
}

List families() {
  List list{{"model_type", "GGUF", "models"}};
  for (const SupportedFamily& family : supported_families()) {
    list.rows.push_back({family.name, family.gguf.empty() ? "-" : family.gguf, family.summary});
  }
  for (const Unsupported& family : unsupported_families()) {
    list.rows.push_back({family.name, "-", "refused: it has " + family.lacking});
  }
  return list;
}

/// Names, joined, of ggml's types that are decoded, or aren't.
std::string ggml_names(bool decoded) {
  std::string names;
  for (const GgmlType& type : ggml_types()) {
    if (can_decode(type) == decoded) names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  return names;
}

List formats() {
  const std::string folder = "Hugging Face folder", gguf = "GGUF, one file or parts";
  return {{"format", "stored as", "read"},
          {{folder, "safetensors, whole or in shards: F64, F32, F16, BF16", "yes"},
           {folder, "MXFP4: experts of gpt-oss", "yes"},
           {folder, "quantised by " + quantised_methods(), "refused by the method's name"},
           {folder, "PyTorch's .bin", "refused: it can run code when it is read"},
           {gguf, ggml_names(true), "yes"},
           {gguf, ggml_names(false), "refused by the type's name"},
           {gguf, "big-endian", "refused"}}};
}

/// The lines of models/catalogue.tsv, fields by name.
std::vector<std::map<std::string, std::string>> catalogue() {
  std::istringstream lines(
#include "model_catalogue.inc"
  );
  const auto fields = [](const std::string& line) {
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, '\t');) fields.push_back(field);
    return fields;
  };
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> rows;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    if (names.empty()) {
      names = fields(line);
      continue;
    }
    const std::vector<std::string> values = fields(line);
    auto& row = rows.emplace_back();
    for (size_t i = 0; i < names.size(); ++i) row[names[i]] = values.at(i);
  }
  return rows;
}

List models() {
  List list{{"model", "what", "licence", "size", "get it with"}};
  for (auto& row : catalogue()) {
    list.rows.push_back({row["name"], row["what"], row["licence"],
                         fmt::format("{} MB", std::stoll(row["bytes"]) / 1'000'000),
                         "scripts/get-model " + row["name"]});
  }
  return list;
}

/// What GGUF files call the way to cut texts into words.
List tokenizers() {
  List list{{"tokenizer.ggml.pre", "models", "normalizes", "BOS unless said"}};
  for (const GgufPreTokenizer& pre : gguf_pre_tokenizers()) {
    list.rows.push_back({pre.name, pre.models,
                         pre.normalizer.is_null() ? "-" : pre.normalizer["type"].get<std::string>(),
                         pre.add_bos ? "yes" : "no"});
  }
  return list;
}

/// What configs/README.md describes under `dataset`.
List datasets() {
  return {
      {"dataset", "what"},
      {{"{text: FILE}", "a text file: one document"},
       {"{text: FOLDER}", "its .txt files by name, such as PG-19's: a document each"},
       {"{text: FOLDER, subfolders: true}", "those of the folders in it, too"},
       {"{text: FILE.jsonl, field: NAME}", "a JSON object a line with the text in a field"},
       {"{text: FILE.json, field: NAME}", "such objects, one a line or over several, or an array"},
       {"{text: [PATH, ...]}", "several of these as one stream"},
       {"FILE.gz, .bz2, .xz, .zst", "any of these files, compressed, whatever its name"},
       {"{tokens_file: FILE.json}", "token ids as they are: a JSON array"}},
      "tasks, which are made and not read: `sinkbench list tasks`"};
}

/// The first sentence, or what stands before its colon, of the comment that a file begins with.
std::string first_comment(const std::string& text) {
  std::istringstream lines(text);
  std::string comment;
  for (std::string line; std::getline(lines, line) && line.starts_with("#");) {
    comment += line.substr(std::min(line.find_first_not_of("# "), line.size())) + " ";
  }
  return comment.substr(0, std::min(comment.find(". "), comment.find(": ")));
}

List configs(const fs::path& folder) {
  if (!fs::is_directory(folder)) {
    throw InputError::format("{}: no such folder; give one with --folder", folder.string());
  }
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".yaml" || extension == ".yml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  List list{{"config", "what"}};
  for (const fs::path& file : files) {
    list.rows.push_back({file.string(), first_comment(read_file(file))});
  }
  return list;
}

void print_list(const List& list, const std::string& format) {
  if (format == "json") {
    auto array = nlohmann::ordered_json::array();
    for (const auto& row : list.rows) {
      nlohmann::ordered_json object;
      for (size_t i = 0; i < row.size(); ++i) object[list.names[i]] = row[i];
      array.push_back(object);
    }
    print_out("{}\n", array.dump(2));
    return;
  }
  Columns columns;  // (markdown is what docs/models.md holds)
  for (size_t i = 0; i < list.names.size(); ++i) {
    Column column{.name = list.names[i], .cells = {}, .number = false, .foldable = false};
    for (const auto& row : list.rows) column.cells.push_back(row[i]);
    columns.push_back(std::move(column));
  }
  print_out("{}", list.rows.empty() ? "" : render(columns, format == "markdown"));
  if (format == "table" && !list.note.empty()) print_out("{}\n", list.note);
}

const std::vector<std::pair<std::string, std::function<List(const ListOptions&)>>>& lists() {
  static const std::vector<std::pair<std::string, std::function<List(const ListOptions&)>>> lists = {
      {"policies",
       [](const ListOptions& options) {
         for (const fs::path& plugin : options.plugins) load_plugin(plugin);
         return options.policy.empty() ? policies() : parameters_of(find_policy(options.policy));
       }},
      {"tasks",
       [](const ListOptions& options) {
         if (options.policy.empty()) return tasks();
         const TaskEntry* entry = task_named(options.policy);
         if (entry != nullptr) return parameters_of(*entry);
         std::vector<std::string> names;
         for (const TaskEntry& task : task_registry()) names.push_back(task.name);
         throw InputError::format("unknown task '{}'{}", options.policy,
                                  suggestion(options.policy, names));
       }},
      {"storage", [](const ListOptions&) { return storage(); }},
      {"families", [](const ListOptions&) { return families(); }},
      {"formats", [](const ListOptions&) { return formats(); }},
      {"models", [](const ListOptions&) { return models(); }},
      {"tokenizers", [](const ListOptions&) { return tokenizers(); }},
      {"datasets", [](const ListOptions&) { return datasets(); }},
      {"configs", [](const ListOptions& options) {
         // As people would name them, below the current folder.
         const fs::path own = fs::is_directory("configs") ? "configs" : configs_folder();
         return configs(!options.folder.empty() ? fs::path(options.folder)
                        : own.empty()           ? fs::path("configs")
                                                : own);
       }}};
  return lists;
}

void run(const ListOptions& options) {
  if (!options.policy.empty() && options.what != "policies" && options.what != "tasks") {
    throw InputError::format("list {}: '{}' is one too many; expected nothing after it",
                             options.what, options.policy);
  }
  for (const auto& [name, make] : lists()) {
    if (options.what == name) print_list(make(options), options.format);
  }
}

}  // namespace

void add_list(CommandLine app) {
  const auto options = std::make_shared<ListOptions>();
  std::vector<std::string> names;
  for (const auto& [name, make] : lists()) names.push_back(name);
  CommandLine command =
      app.add_subcommand("list", "List what there is: policies, families of models and so on");
  command.add_option("what", options->what, fmt::format("{}", fmt::join(names, ", ")))
      .required()
      .one_of(names);
  command.add_option("name", options->policy,
                     "With policies or tasks: the one whose parameters to list");
  command.add_option("--folder", options->folder,
                     "Where to look for configs (default: configs, or those of the program)");
  add_plugins(command, options->plugins);
  command.add_option("--format", options->format, "table, markdown or json")
      .capture_default_str()
      .one_of({"table", "markdown", "json"});
  command.footer("Example: sinkbench list policies");
  command.callback([options] { run(*options); });
}

}  // namespace sinkbench
