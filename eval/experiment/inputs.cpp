#include "eval/experiment/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace sinkbench {
namespace {

constexpr size_t most_texts = 100'000;  // of all cells together
constexpr int64_t largest_seed = std::numeric_limits<int64_t>::max();

}  // namespace

void check_texts(size_t texts, const Place& place) {
  if (texts > most_texts) {
    place.fail(fmt::format("names too many texts; expected no more than {} in all cells together",
                           most_texts));
  }
}

std::vector<ModelSpec> read_models(const Place& place) {
  std::vector<ModelSpec> models;
  for (const Place& entry : place.each()) {
    check_size(models.size(), place);
    if (!entry.node().IsMap()) {
      models.push_back({.path = entry.path()});
      continue;
    }
    entry.check_keys({"path", "get", "config", "weights", "seed", "decoded_mib"});
    if (entry.has("path")) {
      if (entry.has("config")) entry.fail("has both 'path' and 'config'; expected one");
      if (entry.has("seed")) entry.at("seed").fail("has no meaning beside 'path'; leave it out");
      for (const Values& values : product(entry, {"path", "weights"})) {
        const bool as_stored = values.contains("weights") &&
                               values.at("weights").choice({"decoded", "as-stored"}) == "as-stored";
        models.push_back({.path = values.at("path").path(), .as_stored = as_stored});
        if (entry.has("get")) models.back().get = entry.at("get").expanded();
        if (!entry.has("decoded_mib")) continue;
        if (!as_stored) {
          entry.at("decoded_mib").fail("has no meaning without 'weights: as-stored'; leave it out");
        }
        models.back().decoded_mib = entry.at("decoded_mib").integer(0, int64_t{1} << 30);
      }
      continue;
    }
    for (const char* key : {"get", "decoded_mib"}) {
      if (entry.has(key)) entry.at(key).fail("has no meaning without 'path'; leave it out");
    }
    if (!entry.has("config"))
      entry.fail("expected 'path' (a checkpoint's folder), or 'config' and 'weights: random'");
    if (!entry.has("weights")) entry.fail("expected 'weights: random' beside 'config'");
    entry.at("weights").choice({"random"});
    for (const Values& values : product(entry, {"config", "seed"})) {
      models.push_back(
          {.path = values.at("config").path(),
           .random = true,
           .seed = values.contains("seed")
                       ? static_cast<uint64_t>(values.at("seed").integer(0, largest_seed))
                       : 0});
    }
  }
  return models;
}

std::vector<DatasetSpec> read_datasets(const Place& place, const std::optional<int64_t>& limit) {
  std::vector<DatasetSpec> datasets;
  size_t texts = 0;
  for (const Place& entry : place.each()) {
    check_size(datasets.size(), place);
    entry.check_keys({"text", "tokens_file", "field", "subfolders", "invalid", "bos", "bos_token",
                      "special_tokens", "tokens", "reset", "get"});
    if (entry.has("text") == entry.has("tokens_file")) {
      entry.fail("expected either 'text' (a file, a folder or a list of them) or 'tokens_file'");
    }
    DatasetSpec base;
    if (entry.has("text")) {
      for (const Place& text : entry.at("text").each()) base.texts.push_back(text.path());
      if (entry.has("field")) base.documents.field = entry.at("field").text();
      if (entry.has("subfolders")) base.documents.subfolders = entry.at("subfolders").yes();
      if (entry.has("invalid") && entry.at("invalid").choice({"refuse", "replace"}) == "replace") {
        base.documents.invalid = InvalidBytes::replace;
      }
      if (entry.has("get")) base.get = entry.at("get").expanded();
    } else {
      for (const char* key :
           {"field", "subfolders", "invalid", "bos", "bos_token", "special_tokens", "get"}) {
        if (entry.has(key)) entry.at(key).fail("has no meaning beside 'tokens_file'; leave it out");
      }
    }
    for (const Values& values :
         product(entry, {"tokens_file", "bos", "bos_token", "special_tokens", "tokens", "reset"})) {
      DatasetSpec dataset = base;
      if (values.contains("tokens_file")) dataset.tokens_file = values.at("tokens_file").path();
      if (values.contains("bos")) {
        const std::string bos = values.at("bos").choice({"stream", "document", "none"});
        dataset.bos = bos == "stream"     ? BosPlacement::stream
                      : bos == "document" ? BosPlacement::document
                                          : BosPlacement::none;
      }
      if (values.contains("bos_token")) {
        const std::string token = values.at("bos_token").text();
        if (token.empty()) values.at("bos_token").fail("is ''; expected a token's text or its id");
        if (dataset.bos != BosPlacement::none) dataset.bos_token = token;
      }
      if (values.contains("special_tokens")) {
        const std::string spelled = values.at("special_tokens").choice({"parse", "text"});
        dataset.special_tokens = spelled == "text" ? SpecialTokens::text : SpecialTokens::parse;
      }
      if (values.contains("tokens")) dataset.tokens = values.at("tokens").integer(2);
      if (values.contains("reset")) {
        const Place& place = values.at("reset");
        const auto reset = reset_from_string(place.text());
        if (!reset) {
          place.fail(fmt::format("is {}; expected a number of tokens, 2 or more, or 'document'",
                                 place.shown()));
        }
        if (reset->tokens == 0 && dataset.texts.empty()) {
          place.fail(
              "is 'document', and a file of token ids has none; expected a number of tokens");
        }
        dataset.reset = reset;
      }
      if (limit && *limit < dataset.tokens.value_or(*limit + 1)) dataset.tokens = *limit;
      // Several lengths may be cut to the same one, and without a BOS it doesn't matter which.
      const bool may_repeat =
          limit || (dataset.bos == BosPlacement::none && values.contains("bos_token"));
      if (may_repeat && std::find(datasets.begin(), datasets.end(), dataset) != datasets.end()) {
        continue;
      }
      datasets.push_back(std::move(dataset));
      check_texts(texts += base.texts.size(), place);
    }
  }
  return datasets;
}

}  // namespace sinkbench
