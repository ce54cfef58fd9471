#include "base/json.h"

#include "base/record_field.h"
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

TEST_CASE("a field of a file is refused by the way to it, with what it has and what was expected") {
  const nlohmann::json file = parse_json(R"({"name": "a", "list": [1, {"x": -0.5, "on": true}],
      "words": {"k": "v"}, "none": null, "large": 9223372036854775808, "long": ")" +
                                         std::string(100, 'e') + "\"}");
  const RecordField fields(file);
  CHECK(fields.at("name").text() == "a");
  CHECK(fields.at("list").elements()[0].integer(1, 1) == 1);
  CHECK(fields.at("list").elements()[1].at("x").number(-0.5, -0.5) == -0.5);
  CHECK(fields.at("list").elements()[1].at("on").flag());
  CHECK(fields.at("words").text_map().at("k") == "v");
  CHECK(fields.at("none").is_null());
  CHECK(fields.later("not there").is_null());
  CHECK(std::isnan(fields.at("none").number_or_nan()));

  const auto reason = [&](const auto& read) -> std::string {
    try {
      read();
    } catch (const JsonError& error) {
      return json_reason(error);
    }
    return "nothing";
  };
  const auto inner = [&] { return fields.at("list").elements()[1]; };
  CHECK(reason([&] { fields.at("more"); }) == "expected 'more', which isn't there");
  CHECK(reason([&] { inner().at("y"); }) == "list[1]: expected 'y', which isn't there");
  CHECK(reason([&] { inner().at("x").integer(); }) == "list[1].x is -0.5; expected an integer");
  CHECK(reason([&] { inner().at("x").number(0); }) ==
        "list[1].x is -0.5; expected a number of 0 or more");
  CHECK(reason([&] { inner().at("x").number(0, 1); }) ==
        "list[1].x is -0.5; expected a number from 0 to 1");
  CHECK(reason([&] { fields.at("large").integer(0); }) ==
        "large is 9223372036854775808; expected an integer of 0 or more");
  CHECK(reason([&] { fields.at("none").number(); }) == "none is null; expected a number");
  CHECK(reason([&] { fields.at("list").integers(); }) ==
        "list[1] is {\"on\":true,\"x\":-0.5}; expected an integer");
  CHECK(reason([&] { fields.at("name").elements(); }) == "name is \"a\"; expected a list");
  CHECK(reason([&] { fields.at("list").members(); }) ==
        "list is [1,{\"on\":true,\"x\":-0.5}]; expected an object");
  CHECK(reason([&] { fields.at("long").flag(); }) ==
        "long is \"" + std::string(79, 'e') + "...; expected true or false");
  const std::vector<std::string> words = {"b", "c"};
  CHECK(reason([&] { fields.at("name").index_in(words); }) ==
        "name is \"a\"; expected one of b, c");
  CHECK(reason([&] { RecordField(file["list"]).later("x"); }) ==
        "the file is [1,{\"on\":true,\"x\":-0.5}]; expected an object");
}
