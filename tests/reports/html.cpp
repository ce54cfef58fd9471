#include "reports/html.h"

#include <yaml-cpp/yaml.h>

#include <cmath>
#include <regex>
#include <set>

#include "base/file.h"
#include "policies/registry.h"
#include "reports/published.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

std::string page_of(const Results& results, const std::filesystem::path& folder = {}) {
  const HtmlSection section{.title = "part", .results = results, .folder = folder};
  return html_page("the page", {&section, 1});
}

/// Every opened element is closed, in order; those that need no end aside.
void check_balanced(std::string html) {
  html.erase(html.find("<script>"), html.find("</script>") - html.find("<script>") + 9);
  const std::regex tag("<(/?)([a-z0-9]+)[^>]*>");
  std::vector<std::string> open;
  for (std::sregex_iterator it(html.begin(), html.end(), tag), end; it != end; ++it) {
    const std::string name = (*it)[2];
    if (name == "meta" || name == "link" || (*it)[0].str().ends_with("/>")) continue;
    if ((*it)[1].length() == 0) {
      open.push_back(name);
    } else {
      REQUIRE(!open.empty());
      CHECK(open.back() == name);
      open.pop_back();
    }
  }
  CHECK(open.empty());
}

}  // namespace

TEST_CASE("a page has what the tables have, and is whole") {
  const std::string html = page_of(test::example_results());
  check_balanced(html);
  for (const char* part :
       {"<title>the page</title>", "<caption><h2>Perplexity</h2></caption>",
        "<th scope=\"row\">sinks</th><th scope=\"row\" class=\"number\">4+252</th>",
        "<th scope=\"col\" class=\"number\">bits/byte</th>", "<td class=\"number\">45.68</td>",
        "<td class=\"number\">1235</td>", "<caption><h2>Memory</h2></caption>",
        "<td class=\"number\">384 KiB</td>", "warning: the machine is busy",
        "failed: tiny-book-8192-window-0+256-float32: out of memory", "SHA-256 m0",
        "SHA-256 of the token ids d0", "A Processor", "<h2>Conventions</h2>"}) {
    CHECK_THAT(html, ContainsSubstring(part));
  }
  CHECK_THAT(html, !ContainsSubstring("Published"));
}

TEST_CASE("a page loads nothing from elsewhere, and its pictures are of its results") {
  const test::TemporaryFolder folder;
  folder.write("plots/memory-by-cache.svg", "<svg>of other results</svg>");
  Results results = test::example_results();
  for (CellResult& cell : results.cells) {
    if (!cell.perplexity) continue;
    const std::vector<float> nll(static_cast<size_t>(cell.perplexity->scored), 2.0F);
    folder.write(cell.nll_file, {reinterpret_cast<const char*>(nll.data()), nll.size() * 4});
    cell.perplexity->nll_mean = 2;
  }
  const std::string html = page_of(results, folder.path());
  check_balanced(html);
  CHECK_THAT(html, !ContainsSubstring("of other results"));
  for (const char* part :
       {"role=\"img\" aria-label=\"NLL over position: tiny, book.txt, 8192 tokens, float32. "
        "dense perplexity 1235; sinks 4+252 perplexity 45.68; recompute 256 (1 in 8) perplexity "
        "44.50\"",
        "<title>dense at 16.5: 2.000 nats</title>",
        "<title>dense at 8191: 10.12 ms (10.12 to 11.00)</title>",
        "not drawn: memory-by-cache: no policy was measured at two cache sizes"}) {
    CHECK_THAT(html, ContainsSubstring(part));
  }
  const std::regex outside("(src|href)=\"(?!data:|#)|url\\(|@import|fetch\\(");
  CHECK(!std::regex_search(html, outside));
  CHECK_THAT(html, ContainsSubstring("default-src 'none'"));
  CHECK(std::regex_search(html, std::regex("<style>[^<]*prefers-color-scheme: dark[^<]*</style>")));
  CHECK(std::regex_search(html, std::regex("<style>[^<]*@media print[^<]*</style>")));
}

TEST_CASE("a page without its NLL files says so and has the rest") {
  const test::TemporaryFolder folder;
  const std::string html = page_of(test::example_results(), folder.path());
  check_balanced(html);
  CHECK_THAT(html, ContainsSubstring("no picture of the NLL: ") &&
                       ContainsSubstring("aria-label=\"Latency of a decode step: tiny,"));
}

TEST_CASE("names can't break a page") {
  Results results = test::example_results();
  results.cells[1].cell.model.path = "/models/<script>alert(\"1\")&";
  results.info.warnings = {"<img src=x>"};
  const std::string html = page_of(results);
  check_balanced(html);
  CHECK_THAT(html, ContainsSubstring("&lt;script&gt;alert(&quot;1&quot;)&amp;"));
  CHECK(html.find("<script") == html.rfind("<script"));  // its own
  CHECK_THAT(html, !ContainsSubstring("<img"));
}

TEST_CASE("several parts have headings and links to them") {
  const std::vector<HtmlSection> sections = {
      {.title = "first & one", .results = test::example_results(), .folder = {}},
      {.title = "second",
       .results = test::example_results(),
       .folder = {},
       .provenance = "of a<b"}};
  const std::string html = html_page("all", sections);
  check_balanced(html);
  for (const char* part :
       {"<a href=\"#part-1\">first &amp; one</a>", "<h2 id=\"part-2\">second</h2>", "of a&lt;b"}) {
    CHECK_THAT(html, ContainsSubstring(part));
  }
  // Whoever hears the page tells its tables apart.
  std::set<std::string> names;
  const std::regex region("role=\"region\" tabindex=\"0\" aria-label=\"([^\"]*)\"");
  for (std::sregex_iterator it(html.begin(), html.end(), region), end; it != end; ++it) {
    INFO((*it)[1]);
    CHECK(names.insert((*it)[1]).second);
  }
  CHECK(names.contains("first &amp; one: Perplexity"));
  CHECK(names.contains("second: Perplexity"));
}

TEST_CASE("what was published stands beside its models' cells, and nothing beside others") {
  CellResult cell = test::example_results().cells[1];
  const auto published = [&](const std::string& model, int64_t sinks, int64_t window) {
    cell.cell.model.path = "/models/" + model;
    cell.cell.policy = {.name = "sinks", .arguments = {{"sinks", sinks}, {"window", window}}};
    cell.policy_label = cell.cache_label = fmt::format("{}+{}", sinks, window);
    std::vector<Published> found = published_for(cell);
    std::erase_if(found, [](const Published& p) {
      return p.quantity != PublishedQuantity::perplexity || p.first > 0;
    });
    return found;
  };
  // Table 2 of arXiv 2309.17453v4, which table 6 repeats.
  const auto llama = published("Llama-2-7b-hf", 4, 4092);
  REQUIRE(llama.size() == 2);
  CHECK(llama[0].value == 9.59);
  CHECK(llama[0].where == "table 2");
  CHECK(llama[1].where == "table 6");
  CHECK(published("falcon-7b", 4, 1020).at(0).value == 12.34);
  CHECK(published("pythia-160m-zero-sink", 2, 1022).at(0).value == 18.27);
  for (const char* other :
       {"Llama-2-70b-hf", "my-Llama-2-7b", "Llama-2-7b-chat-hf", "Llama-2-7b-hf-2"}) {
    CHECK(published(other, 4, 4092).empty());
  }
  CHECK(published("Llama-2-7b-hf", 4, 4091).empty());

  SECTION("line breaks before the book have a value of their own") {
    CHECK(published("Llama-2-13b-hf", 4, 1020).at(0).value == 5.4);
    cell.cell.dataset.texts = {"/configs/newlines.txt", "/pg19/10146.txt"};
    const auto newlines = published("Llama-2-13b-hf", 4, 1020);
    REQUIRE(newlines.size() == 1);
    CHECK(newlines[0].value == 5.6);
  }
  SECTION("random weights have no perplexity to compare, but times and memory") {
    cell.cell.model = {.path = "/configs/shapes/llama-2-7b.json", .random = true};
    cell.cell.policy = {.name = "recompute",
                        .arguments = {{"sinks", 0}, {"stride", 1}, {"window", 4096}}};
    cell.cache_label = "4096";
    const auto found = published_for(cell);
    REQUIRE(found.size() == 2);
    CHECK(found[0].quantity == PublishedQuantity::latency_ms);
    CHECK(found[0].value == 1411);
    CHECK(found[1].quantity == PublishedQuantity::memory_gib);
    CHECK(found[1].value == 21);
  }
  SECTION("on the page") {
    Results results = test::example_results();
    published("falcon-7b", 4, 1020);
    results.cells = {cell};
    CHECK_THAT(page_of(results),
               ContainsSubstring("<td>perplexity</td><td class=\"number\">45.68</td><td "
                                 "class=\"number\">12.34</td><td>table 6</td>"));
  }
}

TEST_CASE("what is measured of a published quantity") {
  const test::TemporaryFolder folder;
  CellResult cell = test::example_results().cells[1];
  cell.nll_file = "a.f32";
  std::vector<float> nll(3000, 1.0F);
  std::fill(nll.begin() + 1024, nll.end(), 4.0F);
  folder.write("a.f32", {reinterpret_cast<const char*>(nll.data()), 4 * nll.size()});
  cell.perplexity->scored = 3000;
  cell.perplexity->nll_mean = (1024 + 4.0 * (3000 - 1024)) / 3000;
  CHECK(measured({}, cell, "") == 45.678);
  CHECK(*measured({.first = 1024}, cell, folder.path()) == Approx(std::exp(1.0)));
  CHECK(*measured({.first = 2048}, cell, folder.path()) == Approx(std::exp(2.5)));
  CHECK_FALSE(measured({.first = 4096}, cell, folder.path()));  // there are not so many
  CHECK_FALSE(measured({.first = 1024}, cell, ""));
  CHECK(measured({.quantity = PublishedQuantity::latency_ms}, cell, "") == 1.5);
  cell.memory->weight_bytes = 13'421'772'800;  // 12.5 GiB
  cell.memory->kv_bytes_held = 1 << 29;
  CHECK(measured({.quantity = PublishedQuantity::memory_gib}, cell, "") == 13.0);
  cell.memory.reset();
  CHECK_FALSE(measured({.quantity = PublishedQuantity::memory_gib}, cell, ""));
}

TEST_CASE("table 7's values stand beside a StreamEval of its model alone") {
  CellResult cell = test::example_results().cells[1];
  cell.cell.model.path = "/models/Llama-2-7B-32K-Instruct";
  cell.cell.policy.arguments = {{"sinks", 4}, {"window", 2044}};
  cell.cache_label = "4+2044";
  CHECK(published_for(cell).empty());
  cell.cell.dataset.task.name = "streameval";
  CHECK(published_for(cell).size() == 11);
  cell.answers = {{.accuracy = 0.5}, {.of = {{"lines", 20}}, .accuracy = 0.25}};
  CHECK(measured(published_for(cell).at(0), cell, "") == 25);
  CHECK_FALSE(measured(published_for(cell).at(1), cell, ""));
  cell.cell.model.path = "/models/Llama-2-7b-hf";
  cell.cache_label = "4+4092";
  CHECK(published_for(cell).size() == 2);  // times and memory: perplexity is of other texts
}

TEST_CASE("published values are those of the reference, and all of them") {
  const auto paper_file = test::shared_data("reference/streamingllm.yaml");
  const auto curves_file = test::shared_data("reference/attention_sinks.yaml");
  if (!paper_file || !curves_file) {
    WARN("SINKBENCH_DATA has no reference; not tested");
    return;
  }
  size_t found = 0;
  const auto check = [&](const std::string& model, const std::string& cache,
                         PublishedQuantity quantity, const std::string& where, double value,
                         bool newlines = false, int64_t first = 0) {
    INFO(model << " " << cache << " " << where << " " << value);
    const auto same = [&](const Published& p) {
      return p.model == model && p.cache == cache && p.quantity == quantity &&
             p.where.find(where) != p.where.npos && p.value == value && p.newlines == newlines &&
             (first < 0 ? p.first > 4096 || (p.first > 0 && p.first != 1024) : p.first == first);
    };
    const auto values = published_values();
    CHECK(std::count_if(values.begin(), values.end(), same) == 1);
    ++found;
  };
  constexpr auto perplexity = PublishedQuantity::perplexity;
  const YAML::Node paper = YAML::LoadFile(*paper_file);
  for (const auto& entry : paper["figure1_table1"]["perplexity"]) {
    const auto name = entry.first.as<std::string>();
    check("Llama-2-13B", name == "dense" ? "all" : name.substr(name.rfind(' ') + 1), perplexity,
          name == "dense" ? "figure 1" : "table 1", entry.second.as<double>(),
          name.starts_with("newline"));
  }
  const std::map<std::string, std::string> trained = {
      {"vanilla", "Pythia-160M-vanilla"},
      {"zero sink", "Pythia-160M-zero-sink"},
      {"learnable sink", "Pythia-160M-learnable-sink"},
      {"2 learnable sinks", "Pythia-160M-2-learnable-sinks"}};
  for (const std::string table : {"table2", "table3", "table6"}) {
    for (const auto& model : paper[table]["perplexity"]) {
      const auto name = model.first.as<std::string>();
      for (const auto& entry : model.second) {
        check(table == "table3" ? trained.at(name) : name, entry.first.as<std::string>(),
              perplexity, "table " + table.substr(5), entry.second.as<double>());
      }
    }
  }
  const YAML::Node figure = paper["figure10"];
  for (const auto& [key, quantity] : {std::pair{"latency_ms", PublishedQuantity::latency_ms},
                                      std::pair{"memory_gb", PublishedQuantity::memory_gib}}) {
    for (const auto& model : figure[key]) {
      for (size_t i = 0; i < figure["cache"].size(); ++i) {
        const int64_t size = figure["cache"][i].as<int64_t>();
        const auto name = model.first.as<std::string>();
        check(name, std::to_string(size), quantity, "figure 10",
              model.second["recompute"][i].as<double>());
        check(name, fmt::format("4+{}", size - 4), quantity, "figure 10",
              model.second["sinks"][i].as<double>());
      }
    }
  }
  const auto more_file = test::shared_data("reference/published-more.yaml");
  REQUIRE(more_file);
  const YAML::Node more = YAML::LoadFile(*more_file);
  std::function<YAML::Node(const YAML::Node&)> find_table = [&](const YAML::Node& node) {
    if (!node.IsMap()) return YAML::Node();
    for (const auto& entry : node) {
      if (entry.first.IsScalar() && entry.first.Scalar() == "table7" && entry.second["lines"]) {
        return YAML::Node(entry.second);
      }
      const YAML::Node found_below = find_table(entry.second);
      if (found_below.IsMap()) return found_below;
    }
    return YAML::Node();
  };
  const YAML::Node table_7 = find_table(more);
  for (const auto& row : table_7["lines"]) {
    for (size_t i = 0; i < table_7["columns"].size(); ++i) {
      const auto values = published_values();
      CHECK(std::count_if(values.begin(), values.end(), [&](const Published& p) {
              return p.quantity == PublishedQuantity::accuracy &&
                     p.model == "Llama-2-7B-32K-Instruct" &&
                     p.cache == table_7["columns"][i].as<std::string>() &&
                     p.lines == row.first.as<int64_t>() && p.value == row.second[i].as<double>();
            }) == 1);
      ++found;
    }
  }
  for (const auto& model : YAML::LoadFile(*curves_file)["models"]) {
    const auto name = model.first.as<std::string>();
    const auto point = [&](const char* cache, int64_t first, const YAML::Node& value) {
      check(name, cache, perplexity, "attention_sinks", value.as<double>(), false, first);
    };
    for (const char* cache : {"all", "0+1024", "4+1020"}) {
      point(cache, 1024, model.second["all_at_1024"]);
    }
    point("4+1020", 2048, model.second["sinks"]["2048"]);
    point("4+1020", 4096, model.second["sinks"]["4096"]);
    point("4+1020", -1, model.second["sinks"]["end"]);
    point("0+1024", -1, model.second["window_end"]);
    point("all", -1, model.second["dense_end"]);
  }
  for (const char* model : {"BTLM-3B-8k", "GPT-J-6B", "Qwen-14B", "StableLM-3B-4e1t"}) {
    const YAML::Node curves = more["attention_sinks"]["models"][model];
    const bool larger = std::string(model).starts_with("BTLM");
    for (const auto& [kind, cache] :
         {std::pair{"sinks", larger ? "4+2044" : "4+1020"},
          std::pair{"window", larger ? "0+2048" : "0+1024"}, std::pair{"dense", "all"}}) {
      for (const auto& point : curves[kind]) {
        check(model, cache, perplexity, "attention_sinks", point.second.as<double>(), false,
              point.first.as<int64_t>());
      }
    }
  }
  const YAML::Node replications = more["replications"];
  for (const auto& entry :
       replications["pythia-2.8b (hopecommon/CS3602; float16)"]["wikitext103_4096"]) {
    check("Pythia-2.8B", entry.first.as<std::string>(), perplexity, "hopecommon",
          entry.second.as<double>());
  }
  for (const auto& entry : replications["llama-2-7b book 10146"]) {
    const auto name = entry.first.as<std::string>();
    if (!entry.second.IsMap() || !entry.second["65133"]) continue;
    check("Llama-2-7B", name.substr(0, name.find(',')), perplexity, "replicate-attention-sink",
          entry.second["65133"].as<double>());
  }
  const YAML::Node tova = more["tova"];
  for (const auto& row : tova) {
    const auto name = row.first.as<std::string>();
    const bool window = name.starts_with("window");
    if (!window && !name.starts_with("H2O") && !name.starts_with("TOVA")) continue;
    for (size_t i = 0; i < 6; ++i) {  // a cache of 4096 is all
      const int64_t size = tova["cache"][i].as<int64_t>();
      const int64_t sinks = name == "window" ? 0 : name.back() - '0';
      const std::string cache =
          window ? fmt::format("{}+{}", sinks, size - sinks) : std::to_string(size);
      const auto values = published_values();
      CHECK(std::count_if(values.begin(), values.end(), [&](const Published& p) {
              return p.where == "TOVA, table 3" && p.cache == cache &&
                     p.value == row.second[i].as<double>() && p.reset == 4096 &&
                     p.policy == (window           ? ""
                                  : name[0] == 'H' ? "h2o"
                                                   : "tova") &&
                     p.scope == (window                   ? ""
                                 : name.ends_with("head") ? "head"
                                                          : "layer");
            }) == 1);
      ++found;
    }
  }
  check("Llama-2-7B", "all", perplexity, "TOVA", tova["window"][6].as<double>());
  CHECK(found == published_values().size());
}

TEST_CASE("a published value is of its policy, scope, positions and chunks, and of no other") {
  CellResult cell = test::example_results().cells[1];
  cell.cell.model.path = "/models/Llama-2-7b-hf";
  const auto found = [&](const std::string& policy, const PolicyArguments& arguments,
                         Positions positions, int64_t reset) {
    cell.cell.policy = {.name = policy,
                        .arguments = with_defaults(find_policy(policy), arguments),
                        .positions = positions};
    cell.cache_label = make_policy(cell.cell.policy)->cache();
    cell.cell.dataset.reset.reset();
    if (reset > 0) cell.cell.dataset.reset = Reset{reset};
    std::vector<double> values;
    for (const Published& p : published_for(cell)) {
      if (p.quantity == PublishedQuantity::perplexity && p.first == 0) values.push_back(p.value);
    }
    return values;
  };
  using Values = std::vector<double>;
  const auto tova = [&](const char* scope, Positions positions, int64_t reset) {
    return found("tova", {{"capacity", 512}, {"sinks", 0}, {"recent", 0}, {"scope", scope}},
                 positions, reset);
  };
  CHECK(tova("layer", Positions::original, 4096) == Values{7.41});
  CHECK(tova("head", Positions::original, 4096) == Values{7.90});
  CHECK(tova("layer", Positions::cache, 4096).empty());
  CHECK(tova("layer", Positions::original, 0).empty());
  CHECK(found("h2o", {{"capacity", 64}, {"sinks", 0}, {"recent", 32}, {"scope", "layer"}},
              Positions::original, 4096) == Values{10.20});
  const PolicyArguments sinks = {{"sinks", 4}, {"window", 508}};
  CHECK(found("sinks", sinks, Positions::original, 4096) == Values{7.73});
  CHECK(found("sinks", sinks, Positions::cache, 0) == Values{9.73});  // the paper's table 6
  CHECK(found("sinks", sinks, Positions::original, 0).empty());
  CHECK(found("sinks", {{"sinks", 4}, {"window", 507}}, Positions::frozen, 0) == Values{309.305});
  CHECK(found("sinks", {{"sinks", 4}, {"window", 507}}, Positions::cache, 0) == Values{6.016});
  CHECK(found("window", {{"window", 512}}, Positions::cache, 4096) == Values{2184.62});
  CHECK(found("dense", {}, Positions::cache, 4096) == Values{7.16});
  CHECK(found("recompute", {{"window", 512}}, Positions::cache, 0).empty());
}
