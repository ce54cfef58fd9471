// sinkbench tokenize: text to ids and back, to see what a checkpoint's tokenizer does.
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/notes.h"
#include "datasets/documents.h"
#include "datasets/tokenizer.h"

namespace sinkbench {
namespace {

struct TokenizeOptions {
  std::string tokenizer, file;
  DocumentOptions documents;
  std::string bos_token, special_tokens = "parse";
  bool no_special = false, decode = false, count = false, speed = false;
};

std::string read_input(const std::string& file) {
  if (file != "-") return read_file(file);
  return {std::istreambuf_iterator<char>(std::cin), {}};
}

std::vector<int32_t> read_ids(const std::string& file) {
  const std::string name = file == "-" ? "standard input" : file;
  nlohmann::json json;
  try {
    json = parse_json(read_input(file));
  } catch (const nlohmann::json::exception& error) {
    throw InputError::format("{}: expected a JSON array of token ids: {}", name,
                             json_reason(error));
  }
  if (!json.is_array()) throw InputError::format("{}: expected a JSON array of token ids", name);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < json.size(); ++i) {
    constexpr uint64_t most = std::numeric_limits<int32_t>::max();
    if (!json[i].is_number_unsigned() || json[i].get<uint64_t>() > most) {
      throw InputError::format("{}: [{}]: expected a token id", name, i);
    }
    ids.push_back(json[i].get<int32_t>());
  }
  return ids;
}

/// The texts of the documents, read as `run` reads them.
std::vector<std::string> read_texts(const TokenizeOptions& options) {
  DocumentReader reader({options.file == "-" ? "/dev/stdin" : options.file}, options.documents);
  std::vector<std::string> texts;
  while (std::optional<Document> document = reader.next()) {
    texts.push_back(std::move(document->text));
  }
  Notes().say(reader.notes());
  return texts;
}

/// One document as the tokenizer has it; several are joined as `run` joins them.
std::vector<int32_t> encode(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                            bool add_special_tokens, SpecialTokens spelled = SpecialTokens::parse) {
  if (texts.size() == 1) return tokenizer.encode(texts.front(), add_special_tokens, spelled);
  std::vector<int32_t> ids;
  if (add_special_tokens) ids = tokenizer.prefix();
  for (const std::string& text : texts) {
    const std::vector<int32_t> more = tokenizer.encode(text, /*add_special_tokens=*/false, spelled);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  return ids;
}

/// Encodes the text a few times over, on this one thread.
void measure(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  constexpr int passes = 5;
  std::vector<double> megabytes_per_second;
  size_t tokens = 0, bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  for (int pass = 0; pass < passes; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    tokens = encode(tokenizer, texts, true).size();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    megabytes_per_second.push_back(static_cast<double>(bytes) / 1e6 / seconds.count());
  }
  write_output(fmt::format(
      "{} bytes, {} tokens: {:.1f} MB/s at first, {:.1f} MB/s at best of {} passes\n", bytes,
      tokens, megabytes_per_second.front(),
      *std::max_element(megabytes_per_second.begin(), megabytes_per_second.end()), passes));
}

void run(const TokenizeOptions& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  Notes().say(tokenizer.notes());
  const auto spelled =
      options.special_tokens == "text" ? SpecialTokens::text : SpecialTokens::parse;
  if (options.speed) return measure(tokenizer, read_texts(options));
  if (options.decode) {
    write_output(tokenizer.decode(read_ids(options.file), options.no_special));
    return;
  }
  std::vector<int32_t> ids = encode(tokenizer, read_texts(options), !options.no_special, spelled);
  if (!options.bos_token.empty()) {
    const auto own = static_cast<std::ptrdiff_t>(tokenizer.prefix().size());
    if (!options.no_special) ids.erase(ids.begin(), ids.begin() + own);
    ids.insert(ids.begin(), tokenizer.named_token(options.bos_token, "--bos-token"));
  }
  write_output(options.count ? fmt::format("{}\n", ids.size())
                             : fmt::format("[{}]\n", fmt::join(ids, ",")));
}

}  // namespace

void add_tokenize(CommandLine app) {
  const auto options = std::make_shared<TokenizeOptions>();
  CommandLine command =
      app.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  command
      .add_option("tokenizer", options->tokenizer,
                  "A tokenizer.json or tokenizer.model, or a model's folder with one")
      .required();
  command
      .add_option("file", options->file,
                  "The text, as `dataset.text` has it: a file, a folder, JSON lines (or, with "
                  "--decode, the ids); - for standard input")
      .required();
  add_document_options(command, options->documents);
  command.add_flag("--no-special", options->no_special,
                   "Add no special tokens; with --decode, leave them out of the text");
  command.add_option("--bos-token", options->bos_token,
                     "A token's text or id: it comes first, in place of the tokenizer's own BOS");
  command
      .add_option("--special-tokens", options->special_tokens,
                  "Those spelled out in the text: parse (themselves) or text (like any other)")
      .capture_default_str()
      .one_of({"parse", "text"});
  const CommandOption decode = command.add_flag(
      "--decode", options->decode, "The file is a JSON array of ids: print their text");
  command.add_flag("--count", options->count, "Print only how many tokens there are")
      .excludes(decode);
  command.add_flag("--speed", options->speed, "Print only how fast encoding is, on one thread")
      .excludes(decode);
  command.footer("Example: sinkbench tokenize models/tiny book.txt --count");
  command.callback([options] { run(*options); });
}

}  // namespace sinkbench
