#include "datasets/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/gguf.h"
#include "base/sha256.h"
#include "datasets/utf8.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* space_mark = "\xE2\x96\x81";  // U+2581, which stands for a space

/// The fields of one message in protobuf's wire format
/// (https://protobuf.dev/programming-guides/encoding), in order.
class Message {
 public:
  struct Field {
    uint64_t number = 0;
    uint64_t integer = 0;    // of a varint or a fixed number
    std::string_view bytes;  // of what has a length
  };

  Message(const std::string& file, std::string_view bytes) : file_(file), bytes_(bytes) {}

  /// The next field, or nothing at the end.
  std::optional<Field> next() {
    if (bytes_.empty()) return std::nullopt;
    Field field;
    const uint64_t tag = varint();
    field.number = tag >> 3;
    if (field.number == 0) fail();
    switch (tag & 7) {
      case 0:
        field.integer = varint();
        break;
      case 1:
        field.integer = fixed(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.integer = fixed(4);
        break;
      default:
        fail();
    }
    return field;
  }

  [[noreturn]] void fail() const {
    throw InputError::format("{}: no SentencePiece model, or a damaged one: not protobuf's format",
                             file_);
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) {
      throw InputError::format(
          "{}: no SentencePiece model, or a damaged one: a field of {} bytes, of which {} are "
          "there",
          file_, size, bytes_.size());
    }
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1).front());
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    fail();
  }

  uint64_t fixed(size_t size) {
    uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);  // little-endian, as this machine
    return value;
  }

  const std::string& file_;
  std::string_view bytes_;
};

enum Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte_piece = 6 };

/// What sentencepiece_model.proto calls these, and its defaults.
struct Model {
  struct Piece {
    std::string_view text;
    float score = 0.0f;
    uint64_t type = normal;
  };
  std::vector<Piece> pieces;
  uint64_t model_type = 1;
  bool byte_fallback = false, whitespace_as_suffix = false;
  std::string_view bos = "<s>", eos = "</s>";
  bool add_bos = true, add_eos = false;  // which are no part of sentencepiece_model.proto
  std::string_view normalizer, charsmap;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

Model parse(const std::string& file, std::string_view bytes) {
  Model model;
  Message message(file, bytes);
  while (const auto part = message.next()) {
    Message inner(file, part->bytes);
    if (part->number == 1) {
      Model::Piece piece;
      while (const auto field = inner.next()) {
        if (field->number == 1) piece.text = field->bytes;
        if (field->number == 2) {
          const auto bits = static_cast<uint32_t>(field->integer);
          std::memcpy(&piece.score, &bits, sizeof bits);
        }
        if (field->number == 3) piece.type = field->integer;
      }
      model.pieces.push_back(piece);
    } else if (part->number == 2) {
      while (const auto field = inner.next()) {
        if (field->number == 3) model.model_type = field->integer;
        if (field->number == 24) model.whitespace_as_suffix = field->integer != 0;
        if (field->number == 35) model.byte_fallback = field->integer != 0;
        if (field->number == 46) model.bos = field->bytes;
        if (field->number == 47) model.eos = field->bytes;
      }
    } else if (part->number == 3) {
      while (const auto field = inner.next()) {
        if (field->number == 1) model.normalizer = field->bytes;
        if (field->number == 2) model.charsmap = field->bytes;
        if (field->number == 3) model.add_dummy_prefix = field->integer != 0;
        if (field->number == 4) model.remove_extra_whitespaces = field->integer != 0;
        if (field->number == 5) model.escape_whitespaces = field->integer != 0;
      }
    }
  }
  return model;
}

void check(const std::string& file, const Model& model) {
  const auto fail = [&](const std::string& text) {
    throw InputError::format("{}: {}", file, text);
  };
  if (model.pieces.empty()) fail("no pieces: no SentencePiece model, or a damaged one");
  if (model.model_type != 2) {
    fail(fmt::format("trainer_spec.model_type is {}; expected 2 (BPE): no other is supported",
                     model.model_type));
  }
  if (!model.charsmap.empty()) {
    fail(fmt::format("normalizer_spec.name is {}; expected identity: no other is supported",
                     in_quotes(model.normalizer)));
  }
  if (model.remove_extra_whitespaces) {
    fail("normalizer_spec.remove_extra_whitespaces is true, which is not supported");
  }
  if (!model.escape_whitespaces) {
    fail("normalizer_spec.escape_whitespaces is false, which is not supported");
  }
  if (model.whitespace_as_suffix) {
    fail("trainer_spec.treat_whitespace_as_suffix is true, which is not supported");
  }
  if (model.pieces.size() > static_cast<size_t>(max_token_id)) {
    fail(fmt::format("{} pieces; at most {} are supported", model.pieces.size(), max_token_id));
  }
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Model::Piece& piece = model.pieces[i];
    const auto fail_piece = [&](const std::string& text) {
      fail(fmt::format("pieces[{}]: {}: {}", i, in_quotes(to_valid_utf8(piece.text)), text));
    };
    if (piece.text.empty() || valid_utf8_prefix(piece.text) != piece.text.size()) {
      fail_piece("expected a piece of valid UTF-8");
    }
    if (!std::isfinite(piece.score)) fail_piece("its score is not a finite number");
    if (piece.type < normal || piece.type > byte_piece || piece.type == unused) {
      fail_piece(fmt::format("type is {}; expected 1 to 4 or 6", piece.type));
    }
    if (piece.type == user_defined && model.add_dummy_prefix) {
      fail_piece("a user-defined symbol beside normalizer_spec.add_dummy_prefix is not supported");
    }
  }
}

/// Every way to put a piece together from two others, the piece of the highest score first; those
/// of the same score have the same rank.
void add_merges(const Model& model, TokenizerJson& out) {
  std::unordered_map<std::string_view, float> score_of;
  for (const Model::Piece& piece : model.pieces) {
    if (piece.type == normal) score_of.emplace(piece.text, piece.score);
  }
  std::vector<std::pair<std::string_view, float>> sorted(score_of.begin(), score_of.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  uint32_t rank = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    const std::string_view text = sorted[i].first;
    if (i > 0 && sorted[i].second != sorted[i - 1].second) ++rank;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if (!score_of.contains(text.substr(0, cut)) || !score_of.contains(text.substr(cut))) continue;
      out.merges.push_back(text.substr(0, cut));
      out.merges.push_back(text.substr(cut));
      out.merge_ranks.push_back(rank);
    }
  }
}

/// A boolean of the tokenizer_config.json beside the model.
bool configured(const fs::path& path, const char* field, bool absent) {
  const fs::path file = path.parent_path() / "tokenizer_config.json";
  if (!fs::exists(file)) return absent;
  const json config = json::parse(read_file(file), nullptr, false);
  if (!config.is_object()) {
    throw InputError::format("{}: expected a JSON object", file.string());
  }
  const auto it = config.find(field);
  if (it == config.end() || it->is_null()) return absent;
  if (!it->is_boolean()) {
    throw InputError::format("{}: {}: is {}; expected true or false", file.string(), field,
                             it->dump());
  }
  return it->get<bool>();
}

/// What transformers' converter writes for Llama 2 and Mistral.
TokenizerJson as_tokenizer_json(const std::string& file, const std::string& sha256,
                                const Model& model) {
  check(file, model);
  TokenizerJson out;
  out.file = file;
  out.sha256 = sha256;
  json added = json::array(), normalizers = json::array(), decoders = json::array();
  json unk = nullptr;
  std::map<std::string_view, size_t> controls;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Model::Piece& piece = model.pieces[i];
    out.tokens.push_back(piece.text);
    out.ids.push_back(static_cast<int32_t>(i));
    if (piece.type == unknown) unk = piece.text;
    if (piece.type == control) controls.emplace(piece.text, i);
    if (piece.type == normal || piece.type == byte_piece) continue;
    std::string content(piece.text);
    if (piece.type == user_defined) {
      for (size_t p; (p = content.find(space_mark)) != std::string::npos;) {
        content.replace(p, 3, " ");
      }
    }
    added.push_back({{"id", i},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", piece.type != user_defined},
                     {"special", piece.type != user_defined}});
  }
  out.has_vocab = out.has_merges = true;
  add_merges(model, out);

  if (model.add_dummy_prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", space_mark}});
  normalizers.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space_mark}});
  decoders.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", space_mark}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (model.add_dummy_prefix) {
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1u}, {"stop", 0u}});
  }
  json single = json::array(), specials = json::object();
  const auto add_special = [&](bool add, std::string_view token) {
    if (!add || !controls.contains(token)) return;
    const std::string name(token);
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    specials[name] = {{"id", name}, {"ids", {controls.at(token)}}, {"tokens", {name}}};
  };
  add_special(model.add_bos, model.bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  add_special(model.add_eos, model.eos);
  out.root = {{"version", "1.0"},
              {"added_tokens", added},
              {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
              {"pre_tokenizer", nullptr},
              {"post_processor",
               {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", specials}}},
              {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
              {"model",
               {{"type", "BPE"},
                {"unk_token", unk},
                {"fuse_unk", true},
                {"byte_fallback", model.byte_fallback}}}};
  return out;
}

}  // namespace

TokenizerJson read_sentencepiece(const fs::path& path) {
  const std::string bytes = read_file(path);
  Model model = parse(path.string(), bytes);
  model.add_bos = configured(path, "add_bos_token", true);
  model.add_eos = configured(path, "add_eos_token", false);
  return as_tokenizer_json(path.string(), sha256_hex(bytes), model);
}

TokenizerJson read_gguf_tokenizer(const fs::path& path) {
  const GgufFile gguf = read_gguf(path);
  const auto fail = [&](const std::string& key, const std::string& text) {
    throw InputError::format(
        "{}: tokenizer.ggml.{}: {} (a tokenizer.json beside the file is taken "
        "in its place)",
        path.string(), key, text);
  };
  const auto find = [&](const std::string& key) {
    return gguf.metadata.value("tokenizer.ggml." + key, json());
  };
  const json kind = find("model");
  if (kind != "llama") {
    const std::string found =
        kind.is_string() ? in_quotes(to_valid_utf8(kind.get<std::string>())) : "no string";
    fail("model", fmt::format("is {}; expected \"llama\"", found));
  }
  const json tokens = find("tokens"), scores = find("scores"), types = find("token_type");
  for (const auto& [key, list] : {std::pair("tokens", &tokens), std::pair("scores", &scores),
                                  std::pair("token_type", &types)}) {
    if (!list->is_array() || list->size() != tokens.size()) {
      fail(key, fmt::format("expected a list of {} values", tokens.size()));
    }
  }
  const auto boolean = [&](const char* key, bool absent) {
    const json value = find(key);
    return value.is_boolean() ? value.get<bool>() : absent;
  };
  Model model;
  model.model_type = 2;
  model.add_bos = boolean("add_bos_token", true);
  model.add_eos = boolean("add_eos_token", false);
  model.add_dummy_prefix = boolean("add_space_prefix", true);
  model.remove_extra_whitespaces = boolean("remove_extra_whitespaces", false);
  std::set<float> different;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (!tokens[i].is_string()) fail("tokens", fmt::format("[{}]: expected a string", i));
    if (!scores[i].is_number()) fail("scores", fmt::format("[{}]: expected a number", i));
    if (!types[i].is_number_integer())
      fail("token_type", fmt::format("[{}]: expected a number", i));
    model.pieces.push_back({tokens[i].get_ref<const std::string&>(), scores[i].get<float>(),
                            static_cast<uint64_t>(types[i].get<int64_t>())});
    model.byte_fallback = model.byte_fallback || model.pieces.back().type == byte_piece;
    if (model.pieces.back().type == normal) different.insert(model.pieces.back().score);
  }
  if (different.size() == 1) {
    fail("scores", "are all the same, so that nothing says in which order tokens merge");
  }
  const auto special = [&](const char* key, std::string_view& text) {
    const json id = find(key);
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= model.pieces.size()) return;
    text = model.pieces[id.get<size_t>()].text;
  };
  special("bos_token_id", model.bos);
  special("eos_token_id", model.eos);
  return as_tokenizer_json(path.string(), gguf.sha256(), model);
}

}  // namespace sinkbench
