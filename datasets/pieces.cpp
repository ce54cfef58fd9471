#include "datasets/pieces.h"

#include <algorithm>
#include <unordered_map>

namespace sinkbench {

using nlohmann::json;

void add_merges(const std::vector<Piece>& pieces, TokenizerJson& out) {
  std::unordered_map<std::string_view, float> score_of;
  for (const Piece& piece : pieces) {
    if (piece.type == Piece::normal) score_of.emplace(piece.text, piece.score);
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
  out.has_merges = true;
}

json piece_decoder(bool prefix, bool remove) {
  json decoders = json::array();
  decoders.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix || remove) {
    const uint32_t most = remove ? 1 << 20 : 1;
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", most}, {"stop", 0u}});
  }
  return {{"type", "Sequence"}, {"decoders", decoders}};
}

}  // namespace sinkbench
