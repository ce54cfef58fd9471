// How departures are measured and named, on paper.
#include "eval/conformance/variants.h"

#include <algorithm>
#include <cmath>

#include "policies/registry.h"
#include "tests/catch.h"

using namespace sinkbench;
using Catch::Matchers::StartsWith;

namespace {

Kit kit_of(int64_t tokens, int64_t prefix) {
  Kit kit;
  kit.prefix = prefix;
  kit.ids.resize(static_cast<size_t>(tokens));
  return kit;
}

KitPolicy policy_of(const std::string& name, PolicyArguments arguments) {
  const PolicySpec spec{.name = name,
                        .arguments = with_defaults(find_policy(name), std::move(arguments))};
  const std::optional<int64_t> cached = make_policy(spec)->capacity();
  return {.id = {},
          .label = {},
          .policy = spec,
          .cached = cached,
          .first = cached ? std::optional(*cached + 2) : std::nullopt,
          .nll = {},
          .decisions = {}};
}

/// "sinks 4+124" and so on, of each.
std::vector<std::string> labels(const std::vector<Variant>& variants) {
  std::vector<std::string> result;
  for (const Variant& variant : variants) {
    const auto policy = make_policy(variant.policy);
    std::string label = named_label(variant.policy.name, policy->label());
    if (policy->positions() != Positions::cache) label += " " + to_string(policy->positions());
    if (variant.dropped > 0) label += " from " + std::to_string(variant.dropped);
    result.push_back(label);
  }
  return result;
}

}  // namespace

TEST_CASE("a departure says where, how far and how often") {
  const std::vector<double> expected = {1, 2, 3, 4, 5};
  const Departure same = departure(expected, std::vector{1.0, 2.0005, 3.0}, 1e-3);
  CHECK(same.equal());
  CHECK(same.compared == 3);
  CHECK(same.largest == Approx(0.0005));
  CHECK(same.largest_at == 2);
  CHECK(same.first == -1);
  const Departure other = departure(expected, std::vector{1.0, 2.0, 3.5, 4.0, 4.0}, 1e-3);
  CHECK(!other.equal());
  CHECK(other.above == 2);
  CHECK(other.first == 3);  // the third number is of token 3
  CHECK(other.largest == 1);
  CHECK(other.largest_at == 5);
  CHECK(other.mean == Approx(0.3));
  const Departure late = departure(expected, std::vector{3.0, 4.0, 6.0}, 1e-3, 2);
  CHECK(late.compared == 3);
  CHECK(late.first == 5);
  const Departure nothing = departure(expected, std::vector{1.0, std::nan(""), 3.0}, 1e-3);
  CHECK(nothing.first == 2);
  CHECK(std::isinf(nothing.largest));
}

TEST_CASE("numbers that are written otherwise are known") {
  std::vector<double> expected;
  for (int i = 0; i < 50; ++i) expected.push_back(2 + std::sin(i * i));
  const auto how = [&](const auto& change) {
    std::vector<double> found;
    for (size_t i = 0; i < expected.size(); ++i) found.push_back(change(i));
    return written_as(expected, found, 1e-6);
  };
  CHECK_THAT(how([&](size_t i) { return expected[i] / std::log(2.0); }), StartsWith("in bits"));
  CHECK_THAT(how([&](size_t i) { return -expected[i]; }), ContainsSubstring("sign"));
  CHECK_THAT(how([&](size_t i) { return -expected[i] / std::log(2.0); }),
             ContainsSubstring("base 2"));
  CHECK_THAT(how([&](size_t i) { return i == 0 ? 9 : expected[i - 1]; }),
             StartsWith("one token late"));
  CHECK_THAT(how([&](size_t i) {
               double sum = 0;
               for (size_t j = 0; j <= i; ++j) sum += expected[j];
               return sum / static_cast<double>(i + 1);
             }),
             StartsWith("the mean so far"));
  CHECK_THAT(written_as(expected, std::span(expected).subspan(1), 1e-6),
             StartsWith("one token early"));
  CHECK(how([&](size_t i) { return expected[i] + 1; }).empty());
}

TEST_CASE("the known mistakes of a cache with sinks, each once") {
  const std::vector<std::string> found =
      labels(variants_of(policy_of("sinks", {{"sinks", 4}, {"window", 124}}), kit_of(500, 1)));
  for (const char* label :
       {"sinks 4+124 from 1", "sinks 4+124 original", "sinks 4+124 frozen", "sinks 4+123",
        "sinks 4+125", "window 0+128", "window 0+124", "sinks 3+125", "sinks 3+124", "sinks 5+123",
        "sinks 4+128", "sinks 4+120", "sinks 1+127", "sinks 4+122", "shift 4/128", "dense",
        "latest 128, recent 0, every 64", "latest 64, recent 0, every 64"}) {
    INFO(label);
    CHECK(std::count(found.begin(), found.end(), label) == 1);
  }
  CHECK(found.size() == 24);
  // A stream that never fills the cache shows nothing but its BOS.
  CHECK(labels(variants_of(policy_of("sinks", {{"sinks", 4}, {"window", 124}}), kit_of(129, 1))) ==
        std::vector<std::string>{"sinks 4+124 from 1"});
  CHECK(variants_of(policy_of("sinks", {{"sinks", 4}, {"window", 124}}), kit_of(130, 0)).empty());
  CHECK(!variants_of(policy_of("sinks", {{"sinks", 4}, {"window", 124}}), kit_of(131, 0)).empty());
}

TEST_CASE("a second mistake is beside the first, and is no single one") {
  const KitPolicy policy = policy_of("sinks", {{"sinks", 4}, {"window", 124}});
  const Kit kit = kit_of(500, 1);
  const auto beside = [&](const std::string& meaning) {
    for (const Variant& variant : variants_of(policy, kit)) {
      if (variant.meaning.starts_with(meaning)) {
        return labels(variants_beside(variant, policy, kit));
      }
    }
    return std::vector<std::string>();
  };
  const auto count = [](const std::vector<std::string>& found, const std::string& label) {
    return std::count(found.begin(), found.end(), label);
  };
  const auto frozen = beside("positions frozen");
  for (const char* label : {"sinks 4+123 frozen", "window 0+128 frozen", "shift 4/128 frozen",
                            "sinks 4+124 frozen from 1"}) {
    INFO(label);
    CHECK(count(frozen, label) == 1);
  }
  for (const char* label : {"sinks 4+124", "sinks 4+124 original", "sinks 4+124 frozen", "dense"}) {
    INFO(label);
    CHECK(count(frozen, label) == 0);
  }
  const auto without_bos = beside("the BOS is not fed");
  CHECK(count(without_bos, "sinks 4+123 from 1") == 1);
  CHECK(count(without_bos, "dense from 1") == 1);
  CHECK(count(without_bos, "sinks 4+124 from 2") == 0);
  // Of what never evicts, the ids alone can be others.
  CHECK(beside("dense after all") == std::vector<std::string>{"dense from 1"});
}

TEST_CASE("the known mistakes of other caches") {
  const auto window = labels(variants_of(policy_of("window", {{"window", 3}}), kit_of(50, 0)));
  CHECK(window ==
        std::vector<std::string>{"window 0+3 frozen", "window 0+2", "window 0+4", "dense"});
  const auto h2o = labels(variants_of(
      policy_of("h2o", {{"capacity", 16}, {"sinks", 0}, {"recent", 8}}), kit_of(50, 0)));
  for (const char* label :
       {"h2o 16, sinks 0, recent 8 original", "h2o 15, sinks 0, recent 8", "h2o 16, recent 8",
        "h2o 16, sinks 0, recent 0", "window 0+16", "dense"}) {
    INFO(label);
    CHECK(std::count(h2o.begin(), h2o.end(), label) == 1);
  }
  CHECK(labels(variants_of(policy_of("recompute", {{"window", 8}}), kit_of(50, 0))) ==
        std::vector<std::string>{"recompute 7", "recompute 9", "window 0+7", "dense"});
  CHECK(variants_of(policy_of("dense", {}), kit_of(50, 0)).empty());
}
