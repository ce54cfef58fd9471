#include "datasets/tokenizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <mutex>
#include <tuple>
#include <utility>
#include <variant>

#include "base/error.h"
#include "base/gguf.h"
#include "base/utf8.h"
#include "datasets/added_tokens.h"
#include "datasets/bpe.h"
#include "datasets/decoder.h"
#include "datasets/gguf_tokenizer.h"
#include "datasets/normalizer.h"
#include "datasets/pre_tokenizer.h"
#include "datasets/sentencepiece.h"
#include "datasets/tiktoken.h"
#include "datasets/tokenizer_config.h"
#include "datasets/tokenizer_json.h"
#include "datasets/unigram.h"
#include "datasets/vocab_and_merges.h"
#include "datasets/word_cache.h"

namespace sinkbench {
namespace {

/// A field of the file, or null where it lacks it.
JsonField optional_field(const JsonField& parent, const char* key) {
  static const nlohmann::json null;
  return parent.has(key) ? parent[key] : JsonField(null, parent.file(), key);
}

/// Refuses what no part of this reads.
void check_frame(const TokenizerJson& json) {
  const JsonField root = json.field();
  if (root.has("version") && root["version"].string() != "1.0") root["version"].fail("\"1.0\"");
  const JsonField model = root["model"];
  // Files from before 2021 give no type; their kind shows from the merges.
  const std::string type = model.has("type") ? model["type"].string() : "BPE";
  if (type != "BPE" && type != "Unigram") {
    model["type"].fail("BPE or Unigram: no other kind of model is supported");
  }
  const bool unigram = type == "Unigram";
  if (unigram ? json.has_vocab : json.unigram.has_value()) {
    throw InputError::format("{}: model.vocab: {}", json.file,
                             unigram ? "an object: expected a list of tokens and their scores"
                                     : "a list: expected an object of tokens and their ids");
  }
  if (!json.has_vocab && !json.unigram) model["vocab"].fail("the tokens");
  if (!unigram && !json.has_merges) model["merges"].fail("a list of merges");
}

using Model = std::variant<Bpe, Unigram>;

Model make_model(TokenizerJson& json) {
  check_frame(json);
  if (json.unigram) return Unigram(json);
  return Bpe(json);
}

namespace fs = std::filesystem;

bool is_tekken(const fs::path& file) {
  return file.extension() == ".json" && file.stem().string().starts_with("tekken");
}

/// The file of a folder that counts, if it has any of a tokenizer.
std::optional<fs::path> tokenizer_in(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    if (fs::exists(folder / name)) return folder / name;
  }
  if (holds_vocab_and_merges(folder)) return folder / "vocab.json";
  std::optional<fs::path> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    const fs::path& file = entry.path();
    if ((is_tekken(file) || file.extension() == ".tiktoken") && (!found || file < *found)) {
      found = file;
    }
  }
  return found;
}

/// The ids that the post-processor puts around every text.
struct Template {
  std::vector<int32_t> before, after;
};

std::vector<int32_t> special_ids(const JsonField& specials, const JsonField& piece) {
  std::vector<int32_t> ids;
  const std::string name = piece["id"].string();
  for (const JsonField& id : specials[name.c_str()]["ids"].items()) {
    ids.push_back(static_cast<int32_t>(id.integer(max_token_id)));
  }
  return ids;
}

void read_template(const JsonField& field, Template& out) {
  bool text = false;  // whether the text itself came already
  for (const JsonField& piece : field["single"].items()) {
    if (piece.has("Sequence")) {
      const JsonField id = piece["Sequence"]["id"];
      if (id.string() != "A" || text) id.fail("A, once");
      text = true;
    } else {
      const auto ids = special_ids(field["special_tokens"], piece["SpecialToken"]);
      std::vector<int32_t>& side = text ? out.after : out.before;
      side.insert(side.end(), ids.begin(), ids.end());
    }
  }
  if (!text) field["single"].fail("a list with the Sequence A");
}

/// Tokens or ids for a message.
template <typename T>
std::string shown(const std::vector<T>& list) {
  return list.empty() ? "nothing" : fmt::format("{}", fmt::join(list, " "));
}

/// The id of a ["</s>", 2].
int32_t processing_id(const JsonField& pair) {
  const std::vector<JsonField> items = pair.items();
  if (items.size() != 2) pair.fail("a token and its id");
  return static_cast<int32_t>(items[1].integer(max_token_id));
}

/// ByteLevel moves only offsets, which nothing here asks for.
void read_post_processor(const JsonField& field, Template& out) {
  if (field.is_null()) return;
  const std::string type = field["type"].string();
  if (type == "Sequence") {
    for (const JsonField& step : field["processors"].items()) read_post_processor(step, out);
  } else if (type == "TemplateProcessing") {
    if (!out.before.empty() || !out.after.empty()) field["type"].fail("one TemplateProcessing");
    read_template(field, out);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    out.before.insert(out.before.begin(), processing_id(field["cls"]));
    out.after.push_back(processing_id(field["sep"]));
  } else if (type != "ByteLevel") {
    field["type"].fail(
        "BertProcessing, ByteLevel, RobertaProcessing, Sequence or "
        "TemplateProcessing");
  }
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerJson& json);

  /// What one thread needs to encode, kept for the next text.
  struct Scratch {
    WordCache cache;
    std::tuple<Bpe::Scratch, Unigram::Scratch> buffers;
    std::vector<int32_t> ids;  // of one unit
  };
  std::unique_ptr<Scratch> take_scratch() const;

  template <typename M>
  void encode_part(const M& by, std::string_view part, bool at_start, Scratch& scratch,
                   std::vector<int32_t>& ids) const;
  template <typename M>
  void encode_unit(const M& by, std::string_view unit, Scratch& scratch,
                   std::vector<int32_t>& ids) const;

  /// The ids that stand around every text, and who says so.
  void read_frame(const TokenizerJson& json);

  const Vocabulary& vocabulary() const {
    return std::visit([](const auto& m) -> const Vocabulary& { return m.vocabulary(); }, model);
  }

  std::string file, sha256;
  std::vector<std::string> origin;
  std::string pre_tokenizer_name;
  Model model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Decoder decoder;
  AddedTokens added;
  Template post;
  std::string prefix_rule;
  std::vector<std::string> notes;

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Scratch>> idle;  // guarded by `mutex`
};

Tokenizer::Impl::Impl(TokenizerJson& json)
    : file(json.file),
      sha256(json.sha256),
      origin(json.origin),
      pre_tokenizer_name(json.pre_tokenizer_name),
      model(make_model(json)),
      normalizer(json.normalizer ? Normalizer(*json.normalizer)
                                 : Normalizer(optional_field(json.field(), "normalizer"))),
      pre_tokenizer(optional_field(json.field(), "pre_tokenizer")),
      decoder(optional_field(json.field(), "decoder")),
      added(json, vocabulary(), normalizer) {
  notes = json.notes;
  notes.insert(notes.end(), added.notes().begin(), added.notes().end());
  read_frame(json);
}

void Tokenizer::Impl::read_frame(const TokenizerJson& json) {
  read_post_processor(optional_field(json.field(), "post_processor"), post);
  prefix_rule = origin.front() + " (post_processor)";
  if (json.frame) {
    prefix_rule = json.frame->rule;
    const auto ids_of = [&](const std::vector<std::string>& tokens) {
      std::vector<int32_t> ids;
      for (const std::string& token : tokens) {
        const AddedToken* added_token = added.find(token);
        ids.push_back(added_token != nullptr ? added_token->id : vocabulary().find(token));
        if (ids.back() < 0) {
          throw InputError::format("{}: {}: expected a token of {}", prefix_rule, in_quotes(token),
                                   file);
        }
      }
      return ids;
    };
    Template framed{ids_of(json.frame->before), ids_of(json.frame->after)};
    if (origin.front() == "tokenizer.json" && framed.before != post.before) {
      notes.push_back(
          fmt::format("{}: {} in front of a text, as in transformers 4; version 5 follows "
                      "tokenizer.json, which has {} there",
                      prefix_rule, shown(json.frame->before), shown(post.before)));
    }
    post = std::move(framed);
  }
  for (const auto& side : {post.before, post.after}) {
    for (const int32_t id : side) {
      if (vocabulary().contains(id) || added.find(id) != nullptr) continue;
      throw InputError::format("{}: post_processor: {}: expected the id of a token", file, id);
    }
  }
}

std::unique_ptr<Tokenizer::Impl::Scratch> Tokenizer::Impl::take_scratch() const {
  const std::lock_guard lock(mutex);
  if (idle.empty()) return std::make_unique<Scratch>();
  auto scratch = std::move(idle.back());
  idle.pop_back();
  return scratch;
}

template <typename M>
void Tokenizer::Impl::encode_unit(const M& by, std::string_view unit, Scratch& scratch,
                                  std::vector<int32_t>& ids) const {
  pre_tokenizer.for_each_word(unit, [&](std::string_view word) {
    by.encode(word, std::get<typename M::Scratch>(scratch.buffers), ids);
  });
}

template <typename M>
void Tokenizer::Impl::encode_part(const M& by, std::string_view part, bool at_start,
                                  Scratch& scratch, std::vector<int32_t>& ids) const {
  const auto encode_cached = [&](std::string_view unit) {
    if (unit.size() > WordCache::kMaxWord) return encode_unit(by, unit, scratch, ids);
    WordCache::Entry& entry = scratch.cache.entry(unit);
    if (!entry.holds(unit)) {
      scratch.ids.clear();
      encode_unit(by, unit, scratch, scratch.ids);
      if (scratch.ids.size() > WordCache::kMaxIds) {
        ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
        return;
      }
      entry.set(unit, scratch.ids);
    }
    const auto known = entry.value();
    ids.insert(ids.end(), known.begin(), known.end());
  };
  pre_tokenizer.for_each_unit(part, at_start, [&](std::string_view unit) {
    if (pre_tokenizer.byte_level()) {
      encode_cached(unit);
    } else {
      by.for_each_piece(unit, encode_cached);
    }
  });
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  fs::path file = path, folder;
  if (fs::is_directory(path)) folder = path;
  if (is_gguf(path) && fs::exists(path.parent_path() / "tokenizer.json")) {
    folder = path.parent_path();
  }
  if (!folder.empty()) file = tokenizer_in(folder).value_or(folder / "tokenizer.json");
  if (folder.empty() && (file.filename() == "vocab.json" || file.filename() == "merges.txt")) {
    throw InputError::format(
        "{}: is half of a tokenizer; expected the folder that holds it, with vocab.json and "
        "merges.txt",
        file.string());
  }
  TokenizerJson json;
  if (is_gguf(file)) {
    json = read_gguf_tokenizer(file);
  } else if (is_tekken(file)) {
    json = read_tekken(file);
  } else if (file.extension() == ".tiktoken" ||
             (file.extension() == ".model" && is_tiktoken(file))) {
    json = read_tiktoken(file);
  } else if (file.extension() == ".model") {
    std::optional<TokenizerConfig> config;
    if (!folder.empty()) config.emplace(folder);
    json = read_sentencepiece(file, config ? &*config : nullptr);
    if (config && config->denies_prefix_space()) {
      throw InputError::format(
          "{}: add_prefix_space: false: expected true beside a tokenizer.model, or a "
          "tokenizer.json in its place",
          (folder / "tokenizer_config.json").string());
    }
    const std::optional<TextFrame> frame = std::exchange(json.frame, std::nullopt);
    if (config) config->apply(json);
    if (!json.frame) json.frame = frame;
  } else if (folder.empty()) {
    json = read_tokenizer_json(file);
  } else {
    const TokenizerConfig config(folder);
    json = file.filename() == "vocab.json" ? read_vocab_and_merges(folder, config)
                                           : read_tokenizer_json(file);
    config.apply(json);
  }
  json.origin.insert(json.origin.begin(), file.filename().string());
  return Tokenizer(std::make_unique<const Impl>(json));
}

bool Tokenizer::is_in(const std::filesystem::path& folder) {
  return is_gguf(folder) || tokenizer_in(folder).has_value();
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens,
                                       SpecialTokens spelled) const {
  const bool special = spelled == SpecialTokens::parse;
  std::string mended;
  if (valid_utf8_prefix(text) != text.size()) text = mended = to_valid_utf8(text);

  std::unique_ptr<Impl::Scratch> scratch = impl_->take_scratch();
  std::vector<int32_t> ids;
  if (add_special_tokens) ids = impl_->post.before;
  const auto on_token = [&](int32_t id) { ids.push_back(id); };
  const auto on_raw_part = [&](std::string_view part) {
    const bool first = part.data() == text.data();
    std::string normalized;
    if (!impl_->normalizer.is_identity()) part = normalized = impl_->normalizer.apply(part);
    impl_->added.normalized().split(
        part, special,
        [&](std::string_view piece) {
          const bool at_start = first && piece.data() == part.data();
          std::visit(
              [&](const auto& by) { impl_->encode_part(by, piece, at_start, *scratch, ids); },
              impl_->model);
        },
        on_token);
  };
  impl_->added.raw().split(text, special, on_raw_part, on_token);
  if (add_special_tokens) {
    ids.insert(ids.end(), impl_->post.after.begin(), impl_->post.after.end());
  }
  const std::lock_guard lock(impl_->mutex);
  impl_->idle.push_back(std::move(scratch));
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (const AddedToken* token = impl_->added.find(id)) {
      if (!(skip_special_tokens && token->special)) tokens.push_back(token->content);
    } else if (impl_->vocabulary().contains(id)) {
      tokens.emplace_back(impl_->vocabulary().token(id));
    } else {
      throw InputError::format("{}: {}: no token has this id; expected ids of 0 to {}", impl_->file,
                               id, vocab_size() - 1);
    }
  }
  return impl_->decoder.decode(std::move(tokens));
}

int64_t Tokenizer::vocab_size() const {
  return int64_t{std::max(impl_->vocabulary().max_id(), impl_->added.max_id())} + 1;
}

std::optional<int32_t> Tokenizer::token_id(std::string_view token) const {
  if (const AddedToken* added = impl_->added.find(token)) return added->id;
  const int32_t id = impl_->vocabulary().find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

int32_t Tokenizer::named_token(std::string_view name, std::string_view where) const {
  int32_t id = -1;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, id);
  if (error == std::errc() && stop == end && id >= 0) {
    if (id < vocab_size()) return id;
  } else if (const std::optional<int32_t> found = token_id(name)) {
    return *found;
  }
  throw InputError::format("{}: {}: expected a token of {}, or an id of 0 to {}", where,
                           in_quotes(name), impl_->file, vocab_size() - 1);
}

const std::vector<int32_t>& Tokenizer::prefix() const {
  return impl_->post.before;
}

const std::string& Tokenizer::prefix_rule() const {
  return impl_->prefix_rule;
}

std::map<int32_t, std::string> Tokenizer::special_tokens() const {
  return impl_->added.special();
}

const std::string& Tokenizer::sha256() const {
  return impl_->sha256;
}

std::string Tokenizer::description() const {
  const auto* bpe = std::get_if<Bpe>(&impl_->model);
  std::string kind = impl_->pre_tokenizer.byte_level() ? "byte-level " : "";
  kind += bpe != nullptr ? "BPE" : "unigram";
  if (std::visit([](const auto& by) { return by.byte_fallback(); }, impl_->model)) {
    kind += " with byte fallback";
  }
  if (bpe == nullptr) return fmt::format("{}, {} tokens", kind, vocab_size());
  return fmt::format("{}, {} tokens, {} merges", kind, vocab_size(), bpe->merge_count());
}

const std::vector<std::string>& Tokenizer::origin() const {
  return impl_->origin;
}

std::string Tokenizer::pre_tokenizer() const {
  const std::string& name = impl_->pre_tokenizer_name;
  const std::string steps = impl_->pre_tokenizer.description();
  return name.empty() ? steps : fmt::format("{} ({})", name, steps);
}

const std::vector<std::string>& Tokenizer::notes() const {
  return impl_->notes;
}

}  // namespace sinkbench
