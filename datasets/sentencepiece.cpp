#include "datasets/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "datasets/pieces.h"
#include "datasets/unicode_classes.h"
#include "base/utf8.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

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

/// What sentencepiece_model.proto calls these, and its defaults.
struct ModelProto {
  enum { unigram = 1, bpe = 2 };
  std::vector<Piece> pieces;
  uint64_t model_type = unigram;
  bool byte_fallback = false, whitespace_as_suffix = false;
  std::string_view bos = "<s>", eos = "</s>";
  std::string_view charsmap;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

ModelProto parse(const std::string& file, std::string_view bytes) {
  ModelProto model;
  Message message(file, bytes);
  while (const auto part = message.next()) {
    Message inner(file, part->bytes);
    if (part->number == 1) {
      Piece piece;
      while (const auto field = inner.next()) {
        if (field->number == 1) piece.text = field->bytes;
        if (field->number == 2) {
          const auto bits = static_cast<uint32_t>(field->integer);
          std::memcpy(&piece.score, &bits, sizeof bits);
        }
        if (field->number == 3) piece.type = static_cast<int64_t>(field->integer);
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
        if (field->number == 2) model.charsmap = field->bytes;
        if (field->number == 3) model.add_dummy_prefix = field->integer != 0;
        if (field->number == 4) model.remove_extra_whitespaces = field->integer != 0;
        if (field->number == 5) model.escape_whitespaces = field->integer != 0;
      }
    }
  }
  return model;
}

void check(const std::string& file, const ModelProto& model) {
  const auto fail = [&](const std::string& text) {
    throw InputError::format("{}: {}", file, text);
  };
  if (model.pieces.empty()) fail("no pieces: no SentencePiece model, or a damaged one");
  if (model.model_type != ModelProto::unigram && model.model_type != ModelProto::bpe) {
    fail(fmt::format(
        "trainer_spec.model_type is {}; expected 1 (unigram) or 2 (BPE): no other is supported",
        model.model_type));
  }
  if (model.pieces.size() > static_cast<size_t>(max_token_id)) {
    fail(fmt::format("{} pieces; at most {} are supported", model.pieces.size(), max_token_id));
  }
  std::set<std::string_view> mergeable;
  int64_t unknown = 0, bytes = 0;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const auto fail_piece = [&](const std::string& text) {
      fail(fmt::format("pieces[{}]: {}: {}", i, in_quotes(to_valid_utf8(piece.text)), text));
    };
    if (piece.text.empty() || valid_utf8_prefix(piece.text) != piece.text.size()) {
      fail_piece("expected a piece of valid UTF-8");
    }
    if (!std::isfinite(piece.score)) fail_piece("its score is not a finite number");
    if (piece.type < Piece::normal || piece.type > Piece::byte) {
      fail_piece(fmt::format("type is {}; expected 1 to 6", piece.type));
    }
    if (piece.type == Piece::normal || piece.type == Piece::unused) mergeable.insert(piece.text);
    if (piece.type == Piece::unknown) ++unknown;
    if (piece.type == Piece::byte) ++bytes;
  }
  if (unknown != 1) fail(fmt::format("{} pieces of type 2 (unknown); expected one", unknown));
  if (model.byte_fallback ? bytes != 256 : bytes > 0) {
    fail(fmt::format("trainer_spec.byte_fallback is {}, and {} pieces are of type 6 (byte)",
                     model.byte_fallback, bytes));
  }
  if (model.model_type == ModelProto::unigram) return;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const std::string_view text = piece.text;
    const auto fail_piece = [&](const char* what) {
      fail(fmt::format("pieces[{}]: {}: {}, which is not supported", i, in_quotes(text), what));
    };
    for (size_t cut = 1; piece.type == Piece::unused && cut < text.size(); ++cut) {
      if (mergeable.contains(text.substr(0, cut)) && mergeable.contains(text.substr(cut))) {
        fail_piece("is of type 5 (unused) and made of two others");
      }
    }
    for (size_t at = 0; piece.type == Piece::normal && at < text.size();) {
      const auto length = static_cast<size_t>(decode_utf8(text.data() + at).length);
      if (!mergeable.contains(text.substr(at, length)) && length < text.size()) {
        fail_piece("has a character that is no piece itself");
      }
      at += length;
    }
  }
}

/// What a unigram model takes the pieces for.
UnigramScores scores_of(const ModelProto& model) {
  // As unigram_model.cc has it: of the highest score it says FLT_MIN, a number above zero.
  float lowest = std::numeric_limits<float>::max(), highest = std::numeric_limits<float>::min();
  for (const Piece& piece : model.pieces) {
    if (piece.type != Piece::normal) continue;
    lowest = std::min(lowest, piece.score);
    highest = std::max(highest, piece.score);
  }
  UnigramScores out;
  out.single_precision = true;
  out.unknown_score = lowest - 10.0f;
  for (const Piece& piece : model.pieces) {
    const auto length = static_cast<float>(piece.text.size());
    out.scores.push_back(piece.type == Piece::normal         ? piece.score
                         : piece.type == Piece::user_defined ? length * highest - 0.1
                                                             : std::nan(""));
  }
  return out;
}

SentencePieceNormalizer normalizer_of(const std::string& file, const ModelProto& model) {
  SentencePieceNormalizer out;
  if (!model.charsmap.empty()) {
    out.chars_map = std::make_shared<const CharsMap>(
        model.charsmap, file + ": normalizer_spec.precompiled_charsmap");
  }
  for (const Piece& piece : model.pieces) {
    if (piece.type == Piece::user_defined) out.symbols.add(piece.text, 0);
  }
  out.add_dummy_prefix = model.add_dummy_prefix;
  out.remove_extra_whitespaces = model.remove_extra_whitespaces;
  out.escape_whitespaces = model.escape_whitespaces;
  out.whitespace_as_suffix = model.whitespace_as_suffix;
  return out;
}

}  // namespace

TokenizerJson read_sentencepiece(const fs::path& path, const TokenizerConfig* beside) {
  const std::string bytes = read_file(path);
  const ModelProto model = parse(path.string(), bytes);
  TokenizerJson out;
  out.file = path.string();
  check(out.file, model);
  out.sha256 = sha256_hex(bytes);
  const auto says = [&](const char* key, bool absent) {
    return beside == nullptr ? absent : beside->boolean(key, absent);
  };
  const bool add_bos = says("add_bos_token", true), add_eos = says("add_eos_token", false);
  json kind;
  TextFrame frame;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Piece& piece = model.pieces[i];
    const auto id = static_cast<int32_t>(i);
    out.tokens.push_back(piece.text);
    out.ids.push_back(id);
    if (piece.type == Piece::unknown) kind = {{"unk_token", piece.text}, {"unk_id", i}};
    if (piece.type == Piece::control || piece.type == Piece::unknown) {
      out.controls.emplace_back(id, piece.text);
    }
    if (piece.type == Piece::control && piece.text == model.bos && add_bos) {
      frame.before = {std::string(model.bos)};
    }
    if (piece.type == Piece::control && piece.text == model.eos && add_eos) {
      frame.after = {std::string(model.eos)};
    }
    if (piece.type == Piece::user_defined && model.model_type == ModelProto::bpe)
      out.symbols.push_back(id);
  }
  frame.rule = !add_bos               ? "tokenizer_config.json (add_bos_token is false)"
               : frame.before.empty() ? "tokenizer.model has none"
                                      : "tokenizer.model";
  kind["type"] = model.model_type == ModelProto::bpe ? "BPE" : "Unigram";
  kind["fuse_unk"] = true;
  kind["byte_fallback"] = model.byte_fallback;
  out.root = {{"version", "1.0"},
              {"model", kind},
              {"decoder", piece_decoder(model.add_dummy_prefix, model.remove_extra_whitespaces)}};
  out.has_vocab = model.model_type == ModelProto::bpe;
  if (model.model_type == ModelProto::bpe) {
    // Of an unused one, which is made of nothing, others are made all the same.
    std::vector<Piece> pieces = model.pieces;
    for (Piece& piece : pieces) {
      if (piece.type == Piece::unused) piece.type = Piece::normal;
    }
    add_merges(pieces, out);
  } else {
    out.unigram = scores_of(model);
  }
  out.normalizer = normalizer_of(out.file, model);
  // Then only the text's own start, where no space is already.
  if (model.add_dummy_prefix && beside != nullptr &&
      beside->tokenizer_class() == "LlamaTokenizer" && !beside->boolean("legacy", true)) {
    out.normalizer->add_dummy_prefix = false;
    out.root["pre_tokenizer"] = {{"type", "Metaspace"},
                                 {"replacement", kSpaceMark},
                                 {"prepend_scheme", "first"},
                                 {"split", false}};
  }
  out.frame = std::move(frame);
  return out;
}

}  // namespace sinkbench
