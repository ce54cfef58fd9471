// Quest: everything is kept, and each query head reads the pages whose keys may suit it best. Of
// eviction it is an upper bound: nothing is lost for ever. With pages of one entry the choice is
// that of the largest products themselves.
#include <fmt/format.h>

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench {
namespace {

class Quest final : public ReadPolicy {
 public:
  Quest(int64_t read, int64_t page, int64_t dense)
      : pages_(std::max<int64_t>(3, read / page)), page_(page), dense_(dense) {}

  std::optional<Reading> reading(int64_t layer) const override {
    if (layer < dense_) return std::nullopt;
    return Reading{.page = page_, .pages = pages_};
  }
  std::string label() const override { return "quest " + cache(); }
  std::string cache() const override {
    std::string label = fmt::format("all, reads {}", pages_ * page_);
    if (page_ != usual_page) label += fmt::format(", page {}", page_);
    if (dense_ != usual_dense) label += fmt::format(", dense {}", dense_);
    return label;
  }
  std::optional<int64_t> size() const override { return pages_ * page_; }

  static constexpr int64_t usual_page = 16, usual_dense = 2;

 private:
  int64_t pages_, page_, dense_;
};

}  // namespace

PolicyEntry quest_policy() {
  return {.name = "quest",
          .summary =
              "keeps every token; each query head reads the pages that suit it best: an "
              "upper bound",
          .source = "Tang et al. 2024, arXiv 2406.10774",
          .parameters = {{.name = "read",
                          .meaning = "entries that each query head reads, three pages at the least",
                          .minimum = 1,
                          .size = true},
                         {.name = "page",
                          .meaning = "entries of a page; 1: the entries with the largest products",
                          .minimum = 1,
                          .fallback = Quest::usual_page},
                         {.name = "dense",
                          .meaning = "first layers that read everything",
                          .fallback = Quest::usual_dense}},
          .positions = {},  // nothing leaves
          .bound = "keeps every token",
          .prompt = false,
          .make = [](const PolicyArguments& arguments) {
            const auto integer = [&](const char* name) { return arguments.at(name).integer(); };
            return std::make_unique<Quest>(integer("read"), integer("page"), integer("dense"));
          }};
}

}  // namespace sinkbench
