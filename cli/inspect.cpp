// sinkbench inspect: what a model is and which policies it takes, without reading its weights.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/console.h"
#include "cli/commands.h"
#include "cli/tensors.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

using nlohmann::ordered_json;

struct InspectOptions {
  std::string model;
  std::string format = "table";
  std::vector<std::filesystem::path> plugins;
};

std::string count(int64_t value) {
  const double exact = static_cast<double>(value);
  if (value >= 1'000'000'000) return fmt::format("{:.2f} billion", exact / 1e9);
  if (value >= 1'000'000) return fmt::format("{:.2f} million", exact / 1e6);
  return fmt::format("{}", value);
}

std::string weights(const ordered_json& model) {
  const ordered_json& weights = model["weights"];
  if (weights.is_null()) return "none: a shape alone";
  std::string text = fmt::format("{} on disk, {} in float32", format_bytes(weights["bytes"]),
                                 format_bytes(weights["decoded_bytes"]));
  double all = 0;
  std::vector<std::pair<int64_t, std::string>> types;  // the most frequent first
  for (const auto& [type, elements] : weights["stored"].items()) {
    all += elements.get<double>();
    types.emplace_back(-elements.get<int64_t>(), type);
  }
  std::sort(types.begin(), types.end());
  const char* separator = "; ";
  for (const auto& [elements, type] : types) {
    const double share = 100.0 * static_cast<double>(-elements) / all;
    text += separator +
            (types.size() == 1
                 ? "all in " + type
                 : fmt::format("{:.{}f} % {}", share, share < 0.95 || share > 99.05 ? 2 : 0, type));
    separator = ", ";
  }
  return text;
}

std::string shape(const ordered_json& shape) {
  return fmt::format("{} layers, hidden {}, MLP {}, vocabulary {}{}", shape["layers"].dump(),
                     shape["hidden_size"].dump(), shape["mlp_size"].dump(),
                     shape["vocab_size"].dump(),
                     shape["tied_head"].get<bool>() ? ", embedding and head tied" : "");
}

std::string attention(const ordered_json& attention) {
  const int64_t heads = attention["heads"], kv_heads = attention["kv_heads"];
  std::string text = fmt::format("{} heads of {}", heads, attention["head_dim"].dump());
  if (kv_heads < heads) {
    text += fmt::format(" on {} key-value head{}", kv_heads, kv_heads == 1 ? "" : "s");
  }
  if (const ordered_json& windows = attention["local_windows"]; !windows.is_null()) {
    std::map<int64_t, int64_t> layers;  // of each window
    for (const ordered_json& window : windows) ++layers[window.get<int64_t>()];
    for (const auto& [window, count] : layers) {
      if (window == 0) continue;
      text += fmt::format(", local window of {} in {}", window,
                          count == static_cast<int64_t>(windows.size())
                              ? "every layer"
                              : fmt::format("{} of {} layers", count, windows.size()));
    }
  }
  return text;
}

std::string positions(const ordered_json& positions, int64_t head_dim, int64_t layers) {
  const std::string kind = positions["kind"];
  if (kind == "alibi") return "ALiBi";
  if (kind == "learned") return fmt::format("learned, a table of {}", positions["rows"].dump());
  std::vector<std::string> parts;
  int64_t rotated = 0;
  for (const ordered_json& rotary : positions["rotaries"]) {
    rotated += rotary["layers"].get<int64_t>();
    parts.push_back(fmt::format("rotary on {} of {} dimensions, theta {:g}, scaling: {}",
                                rotary["dims"].dump(), head_dim, rotary["theta"].get<double>(),
                                rotary["scaling"].get<std::string>()));
    if (rotary["layers"] != layers) {
      parts.back() += fmt::format(" in {} of {} layers", rotary["layers"].dump(), layers);
    }
  }
  if (rotated < layers) parts.push_back(fmt::format("none in {} layers", layers - rotated));
  return fmt::format("{}", fmt::join(parts, "; "));
}

std::string sinks(const ordered_json& sinks) {
  std::vector<std::string> parts;
  if (sinks["learned_logits"].get<bool>()) parts.push_back("a learned logit for each head");
  if (!sinks["constant_logit"].is_null()) {
    parts.push_back(fmt::format("a constant logit of {}", sinks["constant_logit"].dump()));
  }
  if (!sinks["token"].is_null()) {
    parts.push_back(fmt::format("token {} starts every stream", sinks["token"].dump()));
  }
  return parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, "; "));
}

std::string tokens(const ordered_json& tokens) {
  constexpr size_t shown = 6;
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(shown, tokens.size()); ++i) {
    parts.push_back(
        fmt::format("{} {}", tokens[i]["content"].get<std::string>(), tokens[i]["id"].dump()));
  }
  if (tokens.size() > shown) parts.push_back(fmt::format("{} more", tokens.size() - shown));
  return parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ", "));
}

void print_model(const ordered_json& model) {
  const auto line = [](const char* name, const std::string& value) {
    print_out("  {:<15} {}\n", name, value);
  };
  print_out("{}: {}\n", model["path"].get<std::string>(), model["family"].get<std::string>());
  line("runs as", model["runs_as"]);
  line("parameters", count(model["parameters"]));
  line("weights", weights(model));
  line("shape", shape(model["shape"]));
  if (const ordered_json& experts = model["experts"]; !experts.is_null()) {
    line("experts",
         fmt::format("{} of {} of {} in {} layers{}; {} parameters at work for a token",
                     experts["chosen"].dump(), experts["experts"].dump(), experts["size"].dump(),
                     experts["layers"].dump(),
                     experts["shared_size"] == 0
                         ? ""
                         : fmt::format(", and one of {} for all", experts["shared_size"].dump()),
                     count(model["active_parameters"])));
  }
  line("attention", attention(model["attention"]));
  line("positions",
       positions(model["positions"], model["attention"]["head_dim"], model["shape"]["layers"]));
  line("context", model["context"].is_null()
                      ? "not stated"
                      : fmt::format("{} tokens in training", model["context"].dump()));
  line("sinks", sinks(model["sinks"]));
  for (const ordered_json& note : model["notes"]) line("note", note);
  const ordered_json& kv = model["kv_bytes_per_token"];
  line("KV per token",
       fmt::format("{} bytes in float32, {} in bfloat16 and float16, {} in float64",
                   kv["float32"].dump(), kv["bfloat16"].dump(), kv["float64"].dump()));
  const ordered_json& tokenizer = model["tokenizer"];
  if (tokenizer.is_null()) {
    line("tokenizer", "none; only token ids can be fed");
  } else {
    if (tokenizer.contains("kind")) {
      line("tokenizer",
           fmt::format("{}, from {}; pre-tokenizer: {}", tokenizer["kind"].get<std::string>(),
                       fmt::join(tokenizer["origin"].get<std::vector<std::string>>(), " and "),
                       tokenizer["pre_tokenizer"].get<std::string>()));
      line("BOS", fmt::format("{}, by {}", tokens(tokenizer["bos"]),
                              tokenizer["bos_rule"].get<std::string>()));
      line("special tokens", tokens(tokenizer["special_tokens"]));
      for (const ordered_json& note : tokenizer["notes"]) line("note", note);
    }
    if (tokenizer.contains("error")) {
      line("tokenizer", "can't be used: " + tokenizer["error"].get<std::string>());
    }
  }
  print_out("\n");
  Column name{.name = "policy", .cells = {}, .number = false, .foldable = false};
  Column allowed{.name = "allowed", .cells = {}, .number = false, .foldable = false};
  Column note{.name = "for", .cells = {}, .number = false, .foldable = false};
  for (const ordered_json& policy : model["policies"]) {
    name.cells.push_back(policy["name"]);
    allowed.cells.push_back(policy["allowed"].get<bool>() ? "yes" : "no");
    note.cells.push_back(policy["note"]);
  }
  print_out("{}", render({name, allowed, note}, false));
}

void inspect(const InspectOptions& options) {
  const ordered_json model =
      tensor_commands(/*cuda=*/false).inspect_model(options.model, options.plugins);
  if (options.format == "json") {
    print_out("{}\n", model.dump(2, ' ', false, ordered_json::error_handler_t::replace));
  } else {
    print_model(model);
  }
}

}  // namespace

void add_inspect(CommandLine app) {
  const auto options = std::make_shared<InspectOptions>();
  CommandLine command =
      app.add_subcommand("inspect", "Show what a model is and which policies it takes");
  command
      .add_option("model", options->model,
                  "A checkpoint's folder, or a config.json (its shape alone)")
      .required();
  command.add_option("--format", options->format, "table or json")
      .capture_default_str()
      .one_of({"table", "json"});
  add_plugins(command, options->plugins);
  command.footer("Example: sinkbench inspect models/tiny");
  command.callback([options] { inspect(*options); });
}

}  // namespace sinkbench
