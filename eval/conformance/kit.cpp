#include "eval/conformance/kit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/record_field.h"
#include "eval/results/policy_json.h"
#include "policies/registry.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr const char* format_name = "sinkbench conformance kit";
constexpr double no_number = std::numeric_limits<double>::quiet_NaN();

/// "decoded", "as-stored": how weights are kept.
const std::array<std::string, 2> weights_words = {"decoded", "as-stored"};

/// A short way of writing numbers that says all of them: as few digits as float32, or float64,
/// needs.
std::string numbers_as_text(const std::vector<double>& values, bool doubles) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += i % 8 == 0 ? ",\n        " : ",";
    text +=
        doubles ? fmt::format("{}", values[i]) : fmt::format("{}", static_cast<float>(values[i]));
  }
  return text + "]";
}

std::string ids_text(const std::vector<int32_t>& values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += i % 16 == 0 ? ",\n    " : ",";
    text += fmt::format("{}", values[i]);
  }
  return text + "]";
}

std::string decisions_text(const std::vector<EvictionRecord>& decisions) {
  std::string text = "[";
  for (size_t i = 0; i < decisions.size(); ++i) {
    const EvictionRecord& r = decisions[i];
    text += i == 0 ? "" : ",\n        ";
    text += ordered_json({r.t, r.layer, r.head, r.places}).dump();
  }
  return text + "]";
}

std::string policy_text(const KitPolicy& policy, bool doubles) {
  const ordered_json head = {
      {"label", policy.label},
      {"policy", ordered_json(policy_to_json(policy.policy))},
      {"cached", policy.cached ? ordered_json(*policy.cached) : ordered_json()},
      {"first_evicted", policy.first ? ordered_json(*policy.first) : ordered_json()}};
  std::string text = head.dump();
  text.pop_back();  // the brace
  text += ",\n      \"nll\": " + numbers_as_text(policy.nll, doubles);
  if (policy.decisions) text += ",\n      \"decisions\": " + decisions_text(*policy.decisions);
  return text + "}";
}

std::vector<int32_t> ids_from(const OrderedRecordField& list) {
  const std::vector<int64_t> ids = list.integers(0, std::numeric_limits<int32_t>::max());
  if (ids.size() < 2) list.refuse("two token ids or more");
  return {ids.begin(), ids.end()};
}

KitPolicy policy_from(const std::string& id, const OrderedRecordField& object, int64_t scored) {
  const OrderedRecordField spec = object.at("policy");
  const nlohmann::json sorted(spec.json());
  KitPolicy policy{.id = id,
                   .label = object.at("label").text(),
                   .policy = policy_from_json(RecordField(sorted, spec.path())),
                   .cached = {},
                   .nll = object.at("nll").numbers(),
                   .decisions = {}};
  try {
    if (policy_named(policy.policy.name) != nullptr) make_policy(policy.policy);
  } catch (const InputError& error) {
    throw JsonError(fmt::format("{}: {}", spec.path(), error.what()));
  }
  if (const OrderedRecordField cached = object.at("cached"); !cached.is_null()) {
    policy.cached = cached.integer(0);
  }
  if (!object.json().contains("first_evicted")) {
    // Of an older kit; of most policies it is this.
    if (policy.cached && *policy.cached <= scored - 2) policy.first = *policy.cached + 2;
  } else if (const OrderedRecordField first = object.at("first_evicted"); !first.is_null()) {
    policy.first = first.integer(2, scored);
  }
  if (std::ssize(policy.nll) != scored) {
    throw JsonError(fmt::format("{}.nll has {} numbers; expected {}, one fewer than ids",
                                object.path(), policy.nll.size(), scored));
  }
  if (const OrderedRecordField decisions = object.later("decisions"); !decisions.is_null()) {
    policy.decisions.emplace();
    for (const OrderedRecordField& record : decisions.elements()) {
      const std::vector<OrderedRecordField> r = record.elements();
      if (r.size() != 4) record.refuse("a list of t, layer, head and places");
      policy.decisions->push_back({.t = r[0].integer(),
                                   .layer = r[1].integer(),
                                   .head = r[2].integer(),
                                   .places = r[3].integers()});
    }
  }
  return policy;
}

/// What an array of JSON has between its brackets; what is none as it is.
std::string without_brackets(const std::string& bytes, const fs::path& file) {
  constexpr const char* spaces = " \n\r\t";
  const size_t begin = bytes.find_first_not_of(spaces);
  if (begin == bytes.npos || bytes[begin] != '[') return bytes;
  const size_t end = bytes.find_last_not_of(spaces);
  if (end == begin || bytes[end] != ']') {
    throw InputError::format("{}: a list without its end; expected a JSON array of NLLs",
                             file.string());
  }
  // Spaces in place of the brackets, so that lines are counted as they are.
  return bytes.substr(0, begin) + ' ' + bytes.substr(begin + 1, end - begin - 1);
}

/// Bytes that are no text at all are something else: raw numbers, whatever they begin with.
bool is_plain_text(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char b) {
    return (b >= 0x20 && b < 0x7f) || b == '\n' || b == '\r' || b == '\t';
  });
}

/// The text's numbers, whatever white space or commas part them.
std::vector<double> numbers_of_text(const std::string& text, const fs::path& file, bool is_list) {
  std::vector<double> values;
  int64_t line = 1;
  std::map<int64_t, size_t> lines;  // how many lines have so many numbers
  size_t before = 0;
  const auto end_line = [&] {
    if (values.size() > before) ++lines[static_cast<int64_t>(values.size() - before)];
    before = values.size();
  };
  bool comma = is_list;  // where the next one would stand for a number that is missing
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '\n') {
      ++line;
      end_line();
    }
    if (c == ',') {
      if (comma) {
        throw InputError::format("{}:{}: no number before a comma; expected an NLL", file.string(),
                                 line);
      }
      comma = true;
    }
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ',') {
      ++at;
      continue;
    }
    size_t end = text.find_first_of(" \n\r\t,", at);
    if (end == text.npos) end = text.size();
    if (text.compare(at, end - at, "null") == 0) {  // as JSON has what is no number
      values.push_back(no_number);
      comma = false;
      at = end;
      continue;
    }
    double value = 0;
    const size_t begin = c == '+' ? at + 1 : at;
    const auto [rest, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || rest != text.data() + end) {
      const std::string word = text.substr(at, std::min<size_t>(end - at, 40));
      throw InputError::format("{}:{}: '{}'; expected an NLL, a number", file.string(), line, word);
    }
    values.push_back(value);
    comma = false;
    at = end;
  }
  end_line();
  // A table, or commas in the place of decimal points.
  if (!is_list && lines.size() == 1 && lines.begin()->first > 1 && lines.begin()->second > 1) {
    throw InputError::format("{}: {} numbers on each line; expected one", file.string(),
                             lines.begin()->first);
  }
  return values;
}

template <typename Number>
std::vector<double> raw_numbers(const std::string& bytes) {
  std::vector<Number> values(bytes.size() / sizeof(Number));
  bytes.copy(reinterpret_cast<char*>(values.data()), values.size() * sizeof(Number));
  return {values.begin(), values.end()};
}

/// NumPy's file of one array (its format 1 to 3): float32 or float64 in one dimension.
std::vector<double> numbers_of_npy(const std::string& bytes, const fs::path& file) {
  const size_t wide = bytes.size() > 6 && bytes[6] > 1 ? 4 : 2;  // bytes of the header's length
  size_t length = 0;
  for (size_t i = 0; i < wide && 8 + i < bytes.size(); ++i) {
    length |= static_cast<size_t>(static_cast<unsigned char>(bytes[8 + i])) << (8 * i);
  }
  const size_t begin = 8 + wide + length;
  const std::string header = bytes.substr(std::min(8 + wide, bytes.size()), length);
  const bool single = header.find("'<f4'") != header.npos;
  const size_t shape = header.find("'shape': (");
  const size_t comma = header.find(',', shape);
  const bool flat = shape != header.npos && comma != header.npos && header[comma + 1] == ')';
  size_t count = 0;
  if (flat) std::from_chars(&header[shape] + 10, &header[comma], count);
  if (begin > bytes.size() || !flat || (!single && header.find("'<f8'") == header.npos)) {
    throw InputError::format(
        "{}: an array of NumPy's; expected float32 or float64 in one dimension", file.string());
  }
  const std::string data = bytes.substr(begin);
  if (const size_t size = single ? 4 : 8; data.size() % size != 0 || data.size() / size != count) {
    throw InputError::format("{}: an array of {} numbers in {} bytes; expected {} for each",
                             file.string(), count, data.size(), size);
  }
  return single ? raw_numbers<float>(data) : raw_numbers<double>(data);
}

}  // namespace

const KitPolicy& Kit::policy(const std::string& name) const {
  std::vector<std::string> names, of_label;
  const KitPolicy* labelled = nullptr;
  for (const KitPolicy& policy : policies) {
    if (policy.id == name) return policy;
    names.push_back(policy.id);
    if (policy.label != name) continue;
    labelled = &policy;
    of_label.push_back(policy.id);
  }
  if (of_label.size() > 1) {
    throw InputError::format("'{}' is of several of the kit's policies; expected one of {}", name,
                             fmt::join(of_label, ", "));
  }
  if (labelled != nullptr) return *labelled;
  throw InputError::format("the kit has no policy '{}'{}", name, suggestion(name, names));
}

void write_kit(const Kit& kit, const fs::path& file) {
  const ordered_json head = {{"format", format_name},
                             {"version", kit_version},
                             {"versions", kit.versions},
                             {"model",
                              {{"name", kit.model_name},
                               {"path", kit.model.string()},
                               {"sha256", kit.model_sha256},
                               {"weights", weights_words[kit.as_stored]}}},
                             {"text", kit.text},
                             {"tokenizer_sha256", kit.tokenizer_sha256},
                             {"dtype", kit.dtype},
                             {"prefix", kit.prefix}};
  // Lists on few lines: a file that people look at.
  std::string text = head.dump(2, ' ', false, ordered_json::error_handler_t::replace);
  text.erase(text.rfind('\n'));  // and the brace
  text += ",\n  \"ids\": " + ids_text(kit.ids) + ",\n  \"policies\": {";
  for (size_t i = 0; i < kit.policies.size(); ++i) {
    text +=
        fmt::format("{}\n    {}: {}", i == 0 ? "" : ",", ordered_json(kit.policies[i].id).dump(),
                    policy_text(kit.policies[i], kit.dtype == "float64"));
  }
  write_file_atomically(file, text + "\n  }\n}\n");
}

Kit read_kit(const fs::path& file) {
  try {
    std::vector<std::set<std::string>> keys;  // of the objects that are open
    const ordered_json json = parse_json<ordered_json>(
        read_stream(file), [&](int, ordered_json::parse_event_t event, ordered_json& parsed) {
          using Event = ordered_json::parse_event_t;
          if (event == Event::object_start) keys.emplace_back();
          if (event == Event::object_end) keys.pop_back();
          if (event == Event::key && !keys.back().insert(parsed.get<std::string>()).second) {
            throw JsonError("'" + parsed.get<std::string>() + "' stands twice in one object");
          }
          return true;
        });
    const OrderedRecordField fields(json);
    const std::string format = format_name;
    fields.at("format").index_in({&format, 1});
    fields.at("version").integer(kit_version, kit_version);
    Kit kit;
    kit.versions = fields.at("versions").text_map();
    const OrderedRecordField model = fields.at("model");
    kit.model_name = model.at("name").text();
    kit.model = model.at("path").text();
    kit.model_sha256 = model.at("sha256").text();
    kit.as_stored = model.at("weights").index_in(weights_words) == 1;
    kit.text = fields.at("text").text();
    kit.tokenizer_sha256 = fields.at("tokenizer_sha256").text();
    kit.dtype = fields.at("dtype").text();
    kit.ids = ids_from(fields.at("ids"));
    kit.prefix = fields.at("prefix").integer(0, std::ssize(kit.ids) - 2);
    const OrderedRecordField policies = fields.at("policies");
    for (const auto& [id, object] : policies.members()) {
      kit.policies.push_back(policy_from(id, object, std::ssize(kit.ids) - 1));
    }
    if (kit.policies.empty()) policies.refuse("a policy or more");
    return kit;
  } catch (const nlohmann::json::exception& error) {
    throw InputError::format("{}: no kit of `sinkbench golden`: {}", file.string(),
                             json_reason(error));
  }
}

double perplexity_of(std::span<const double> nll) {
  double sum = 0;
  for (const double value : nll) sum += value;
  return std::exp(sum / static_cast<double>(nll.size()));
}

std::vector<double> read_nlls(const fs::path& file) {
  const std::string bytes = read_stream(file);
  const std::string extension = file.extension().string();
  const auto begins = [&](std::string_view with) { return bytes.starts_with(with); };
  const std::string text = begins("\xef\xbb\xbf") ? bytes.substr(3) : bytes;
  std::vector<double> values;
  if (begins("\x93NUMPY")) {
    values = numbers_of_npy(bytes, file);
  } else if (extension == ".f64" || extension == ".f32") {
    const size_t size = extension == ".f64" ? 8 : 4;
    if (bytes.size() % size != 0) {
      throw InputError::format("{}: {} bytes; expected raw float{}, a multiple of {}",
                               file.string(), bytes.size(), 8 * size, size);
    }
    values = size == 8 ? raw_numbers<double>(bytes) : raw_numbers<float>(bytes);
  } else if (begins("\x1f\x8b") || begins("\x28\xb5\x2f\xfd") || begins("PK") ||
             begins("\xff\xfe") || begins("\xfe\xff")) {
    throw InputError::format(
        "{}: compressed, an archive or in UTF-16; expected NLLs as they are: a JSON array, a "
        "number a "
        "line, or raw float32",
        file.string());
  } else if (is_plain_text(text)) {
    const std::string bare = without_brackets(text, file);
    values = numbers_of_text(bare, file, /*is_list=*/bare != text);
  } else if (bytes.size() % 4 == 0) {
    values = raw_numbers<float>(bytes);
    // Anything can be read so; what comes out of something else is mostly far from any NLL.
    const auto unlikely = std::find_if(values.begin(), values.end(), [](double value) {
      return std::abs(value) > 1e6 || (value != 0 && std::abs(value) < 1e-30);
    });
    if (unlikely != values.end()) {
      throw InputError::format(
          "{}: no text, and as raw float32 its number {} would be {:g}; expected NLLs (raw float64 "
          "by the "
          "name .f64)",
          file.string(), unlikely - values.begin() + 1, *unlikely);
    }
  } else {
    throw InputError::format(
        "{}: expected NLLs: a JSON array, a number a line, or raw float32 (its {} bytes are no "
        "multiple of 4)",
        file.string(), bytes.size());
  }
  if (values.empty()) {
    throw InputError::format("{}: no numbers; expected NLLs in nats", file.string());
  }
  return values;
}

}  // namespace sinkbench
