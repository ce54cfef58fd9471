#include "base/json.h"

#include "tests/catch.h"

using namespace sinkbench;

namespace {

std::string nested(int depth, const std::string& inside) {
  std::string begin, end;
  for (int i = 0; i < depth; ++i) {
    begin += i % 2 == 0 ? "[" : "{\"a\":";
    end += (depth - i) % 2 == 0 ? "}" : "]";
  }
  return begin + inside + end;
}

}  // namespace

TEST_CASE("the reason why a JSON text is bad comes without the library's number") {
  try {
    parse_json("{");
    FAIL("no exception");
  } catch (const nlohmann::json::exception& error) {
    CHECK_THAT(json_reason(error), Catch::Matchers::StartsWith("parse error at line 1, column 2"));
  }
}

TEST_CASE("JSON is read to a depth that nothing fails of") {
  const std::string brackets = "\"[[[{{\\\"[[\\\\\"";  // a text, whose brackets are none
  CHECK(parse_json(nested(64, brackets)).dump() == nested(64, brackets));
  CHECK_THROWS_AS(parse_json(nested(65, "1")), JsonError);
  CHECK_THROWS_AS(parse_json<nlohmann::ordered_json>(nested(2'000'000, "1")),
                  nlohmann::json::exception);
  CHECK_THROWS_WITH(parse_json(nested(65, "")), "nested more than 64 deep");
  // As many beside each other are no depth.
  std::string beside = "[0";
  for (int i = 0; i < 1000; ++i) beside += ",[{}]";
  CHECK(parse_json(beside + "]").size() == 1001);
  CHECK(integers(parse_json("[0, -1, 9223372036854775807]")) ==
        std::vector<int64_t>{0, -1, 9223372036854775807});
  for (const char* bad : {"[1.0]", "[9223372036854775808]", "[true]", "[null]", "3", "[1e3]"}) {
    CHECK_THROWS_AS(integers(parse_json(bad)), JsonError);
  }
  // What is no JSON is the parser's to refuse.
  for (const char* bad : {"", "\"", "\"\\", "]]]]", "[\"a]"}) {
    CHECK_THROWS_AS(parse_json(bad), nlohmann::json::parse_error);
  }
}
