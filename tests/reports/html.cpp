#include "reports/html.h"

#include <regex>

#include "base/file.h"
#include "reports/published.h"
#include "tests/catch.h"
#include "tests/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

std::string page_of(const Results& results, const std::filesystem::path& folder = {}) {
  const HtmlSection section{.title = "part", .results = results, .folder = folder};
  return html_page("the page", {&section, 1});
}

/// Every opened element is closed, in order; those that need no end aside.
void check_balanced(const std::string& html) {
  const std::regex tag("<(/?)([a-z0-9]+)[^>]*>");
  std::vector<std::string> open;
  for (std::sregex_iterator it(html.begin(), html.end(), tag), end; it != end; ++it) {
    const std::string name = (*it)[2];
    if (name == "meta" || name == "link" || name == "img") continue;
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
       {"<title>the page</title>", "<h3>Perplexity</h3>", "<td class=\"number\">45.68</td>",
        "<td class=\"number\">1235</td>", "<h3>Memory</h3>", "<td class=\"number\">384 KiB</td>",
        "warning: the machine is busy",
        "failed: tiny-book-8192-window-0+256-float32: out of memory", "SHA-256 m0",
        "SHA-256 of the token ids d0", "A Processor", "<h2>Conventions</h2>"}) {
    CHECK_THAT(html, ContainsSubstring(part));
  }
  CHECK_THAT(html, !ContainsSubstring("Published"));
}

TEST_CASE("a page loads nothing from elsewhere and runs nothing") {
  const test::TemporaryFolder folder;
  folder.write("plots/memory-by-cache.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>");
  folder.write("plots/nll-over-position.svg", "<svg/>");
  const std::string html = page_of(test::example_results(), folder.path());
  check_balanced(html);
  CHECK_THAT(html, ContainsSubstring("src=\"data:image/svg+xml;base64,PHN2Zy8+\""));  // <svg/>
  CHECK(html.find("alt=\"nll over position\"") < html.find("alt=\"memory by cache\""));
  const std::regex outside("(src|href)=\"(?!data:|#)");
  CHECK(!std::regex_search(html, outside));
  CHECK_THAT(html, !ContainsSubstring("<script") && !ContainsSubstring("http"));
}

TEST_CASE("names can't break a page") {
  Results results = test::example_results();
  results.cells[1].cell.model.path = "/models/<script>alert(\"1\")&";
  results.info.warnings = {"<img src=x>"};
  const std::string html = page_of(results);
  check_balanced(html);
  CHECK_THAT(html, ContainsSubstring("&lt;script&gt;alert(&quot;1&quot;)&amp;"));
  CHECK_THAT(html, !ContainsSubstring("<script") && !ContainsSubstring("<img"));
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
}

TEST_CASE("what the paper published stands beside its models' cells, and nothing beside others") {
  CellResult cell = test::example_results().cells[1];
  const auto published = [&](const std::string& model, int64_t sinks, int64_t window) {
    cell.cell.model.path = "/models/" + model;
    cell.cell.policy = {.name = "sinks", .arguments = {{"sinks", sinks}, {"window", window}}};
    cell.policy_label = fmt::format("{}+{}", sinks, window);
    return published_for(cell);
  };
  // Table 2 of arXiv 2309.17453v4, which table 6 repeats.
  const auto llama = published("Llama-2-7b-hf", 4, 4092);
  REQUIRE(llama.size() == 2);
  CHECK(llama[0].perplexity == 9.59);
  CHECK(llama[0].where == "table 2");
  CHECK(llama[1].where == "table 6");
  CHECK(published("falcon-7b", 4, 1020).at(0).perplexity == 12.34);
  CHECK(published("Llama-2-7b-hf", 4, 4091).empty());
  CHECK(published("Llama-2-70b-hf", 4, 4092).empty());
  CHECK(published("my-Llama-2-7b", 4, 4092).empty());

  Results results = test::example_results();
  cell.cell.model.path = "/models/falcon-7b";
  cell.cell.policy.arguments = {{"sinks", 4}, {"window", 1020}};
  cell.policy_label = "4+1020";
  results.cells = {cell};
  const std::string html = page_of(results);
  CHECK_THAT(html, ContainsSubstring("<td class=\"number\">45.68</td><td "
                                     "class=\"number\">12.34</td><td>table 6</td>"));
}
