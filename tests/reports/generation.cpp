#include "reports/generation.h"

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

/// Two texts of two parts and one, of which the second breaks what can be broken.
Generation example() {
  Generation generation{.model = "models/tiny",
                        .prompt = "In the\nbeginning",
                        .prompt_tokens = 5,
                        .options = {.tokens = 6, .sampling = {.temperature = 0.5, .seed = 9}},
                        .dtype = "float32",
                        .device = "cpu",
                        .threads = 2};
  generation.texts.push_back({.label = "window 0+3",
                              .ids = {1, 1, 1, 1, 1, 1},
                              .first_eviction = 7,
                              .seconds = 0.5,
                              .steps = 5,
                              .dense_nll = {1, 2, 3, 4, 5, 6},
                              .cuts = {0, 4, 6},
                              .parts = {" was the word and the word\nwas", " long"}});
  generation.texts.push_back({.label = "sinks 1+2",
                              .ids = {1, 2},
                              .stopped = true,
                              .first_eviction = 4,
                              .cuts = {0, 2},
                              .parts = {"<b>|\x1b*⟦</s>⟧"}});
  generation.notes = {"a < b"};
  return generation;
}

}  // namespace

TEST_CASE("texts stand side by side where there is room") {
  CHECK(
      format_generation(example(), 75) ==
      R"(models/tiny, float32, cpu, 2 threads; 6 tokens after a prompt of 5; temperature 0.5, top-p 1, seed 9

  policy         written  tokens/s  first leaves at  repeats  NLL if dense
  ----------  ----------  --------  ---------------  -------  ------------
  window 0+3           6     10.00                2     67 %         3.500
  sinks 1+2   2, stopped         -           prompt      0 %             -

first leaves at: the token with which the first one left the cache; repeats: tokens that end a run of four which was there before; NLL if dense: nats per token under dense attention

== window 0+3 ==                       == sinks 1+2 ==
[1-4] NLL 2.50, repeats 0 %, first     [1-2], repeats 0 %, the first left
leaves at 2                            in the prompt
 was the word and the word             <b>|\x1b*⟦</s>⟧
was

[5-6] NLL 5.50, repeats 100 %
 long

)");
  // Where there isn't, one below the other.
  const std::string narrow = format_generation(example(), 40);
  CHECK_THAT(narrow, ContainsSubstring("\n== window 0+3 ==\n[1-4] NLL 2.50"));
  CHECK_THAT(narrow, ContainsSubstring("\n long\n\n== sinks 1+2 ==\n"));
}

TEST_CASE("texts break neither Markdown nor HTML, and JSON has everything") {
  const std::string markdown = generation_markdown(example());
  CHECK_THAT(markdown, ContainsSubstring("**Prompt:** In the<br>beginning\n"));
  CHECK_THAT(markdown, ContainsSubstring("<br>&lt;b&gt;\\|\\\\x1b\\*⟦&lt;/s&gt;⟧ |"));
  CHECK_THAT(markdown, ContainsSubstring("\n> a &lt; b\n"));
  const std::string html = generation_html(example());
  CHECK_THAT(html, ContainsSubstring("&lt;b&gt;|"));
  CHECK_THAT(html, ContainsSubstring("<td style=\"--shade: 0.05\">"));  // (2.5 - 2) / 6 * 0.6
  CHECK_THAT(html, ContainsSubstring("--shade: 0.35"));                 // (5.5 - 2) / 6 * 0.6
  CHECK_THAT(html, !ContainsSubstring("\x1b"));
  CHECK_THAT(html, ContainsSubstring("<p class=\"text\">In the\nbeginning</p>"));
  CHECK_THAT(html, ContainsSubstring(" was the word and the word\nwas</span>"));
  const test::TemporaryFolder folder;
  folder.write("page.html", html);
  CHECK(std::system(
            ("xmllint --html --noout '" + (folder.path() / "page.html").string() +
             "' 2>&1 | grep -v 'Tag main invalid\\|<main>\\|\\^' | grep . && exit 1 || exit 0")
                .c_str()) == 0);
  const auto json = generation_json(example());
  CHECK(json["texts"][0]["ids"].size() == 6);
  CHECK(json["texts"][0]["parts"][1]["dense_nll"] == 5.5);
  CHECK(json["texts"][0]["repeats"] == 2.0 / 3);
  CHECK(json["texts"][1]["first_eviction"] == 4);
  CHECK(json["texts"][1]["parts"][0]["dense_nll"].is_null());
  CHECK(json["seed"] == 9);
}
