#include "datasets/decoder.h"

#include <charconv>
#include <optional>
#include <utility>

#include "datasets/byte_level.h"
#include "datasets/pre_tokenizer.h"
#include "base/utf8.h"

namespace sinkbench {
namespace {

std::string join(const std::vector<std::string>& tokens, std::string_view between) {
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += between;
    text += tokens[i];
  }
  return text;
}

/// The byte that "<0x0A>" and the like stand for.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(value);
}

}  // namespace

Decoder::Decoder(const JsonField& field) : present_(!field.is_null()) {
  if (present_) add(field);
  check_step_count(field, steps_.size());
}

void Decoder::add(const JsonField& field) {
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& step : field["decoders"].items()) add(step);
  } else if (type == "ByteFallback") {
    steps_.push_back(ByteFallback{});
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteLevel{});
  } else if (type == "Fuse") {
    steps_.push_back(Fuse{});
  } else if (type == "Metaspace") {
    const bool prepends = read_metaspace_prepend(field) != MetaspacePrepend::kNever;
    steps_.push_back(Metaspace{field["replacement"].character(), prepends});
  } else if (type == "Replace") {
    steps_.push_back(Replace(field));
  } else if (type == "Strip") {
    constexpr int64_t most = 1 << 20;
    steps_.push_back(Strip{field["content"].character(), field["start"].integer(most),
                           field["stop"].integer(most)});
  } else {
    field["type"].fail("ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence or Strip");
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  if (!present_) return join(tokens, " ");
  for (const Step& step : steps_) {
    std::visit([&](const auto& s) { apply(s, tokens); }, step);
  }
  return join(tokens, "");
}

void Decoder::apply(const ByteFallback&, std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;  // of the run of byte tokens so far
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      out.push_back(bytes);
    } else {  // one for each byte, unlike to_valid_utf8
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const std::optional<char> byte = fallback_byte(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void Decoder::apply(const ByteLevel&, std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) append_alphabet_bytes(token, bytes);
  if (valid_utf8_prefix(bytes) != bytes.size()) bytes = to_valid_utf8(bytes);
  tokens.assign(1, std::move(bytes));
}

void Decoder::apply(const Fuse&, std::vector<std::string>& tokens) {
  tokens.assign(1, join(tokens, ""));
}

void Decoder::apply(const Metaspace& step, std::vector<std::string>& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string token = std::exchange(tokens[i], "");
    const std::string_view space = i == 0 && step.drop_first ? "" : " ";
    size_t done = 0;
    for (size_t at; (at = token.find(step.replacement, done)) != std::string::npos;
         done = at + step.replacement.size()) {
      tokens[i].append(token, done, at - done).append(space);
    }
    tokens[i].append(token, done);
  }
}

void Decoder::apply(const Replace& step, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) token = step.apply(token);
}

void Decoder::apply(const Strip& step, std::vector<std::string>& tokens) {
  const size_t length = step.character.size();
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (int64_t i = 0; i < step.start && rest.starts_with(step.character); ++i) {
      rest.remove_prefix(length);
    }
    for (int64_t i = 0; i < step.stop && rest.ends_with(step.character); ++i) {
      rest.remove_suffix(length);
    }
    token = std::string(rest);
  }
}

}  // namespace sinkbench
