// Kits and other programs' numbers, as files.
#include "eval/conformance/kit.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

Kit example(const std::string& dtype) {
  Kit kit;
  kit.versions = {{"sinkbench", "1"}};
  kit.model = "/models/m";
  kit.model_name = "m";
  kit.model_sha256 = "abc";
  kit.tokenizer_sha256 = "def";
  kit.text = "book.txt";
  kit.dtype = dtype;
  kit.prefix = 1;
  for (int i = 0; i < 20; ++i) kit.ids.push_back(i * 7 % 13);
  std::vector<double> nll;
  for (int i = 0; i < 19; ++i) nll.push_back(dtype == "float64" ? std::exp(0.1 * i) : 0.125 * i);
  const auto spec = [](const std::string& name, PolicyArguments arguments) {
    return PolicySpec{.name = name,
                      .arguments = with_defaults(find_policy(name), std::move(arguments))};
  };
  kit.policies.push_back({.id = "dense",
                          .label = "dense",
                          .policy = spec("dense", {}),
                          .cached = {},
                          .nll = nll,
                          .decisions = {}});
  PolicySpec sinks = spec("sinks", {{"sinks", 2}, {"window", 5}});
  sinks.positions = Positions::original;
  kit.policies.push_back({.id = "sinks-2+5-original",
                          .label = "sinks 2+5",
                          .policy = sinks,
                          .cached = 7,
                          .first = 9,
                          .nll = nll,
                          .decisions = {}});
  kit.policies.push_back({.id = "h2o-8",
                          .label = "h2o 8",
                          .policy = spec("h2o", {{"capacity", 8}, {"sinks", 1}, {"recent", 2}}),
                          .cached = 8,
                          .nll = nll,
                          .decisions = {{{.t = 8, .layer = 0, .head = 1, .places = {3, 4}},
                                         {.t = 9, .places = {5}}}}});
  return kit;
}

}  // namespace

TEST_CASE("a kit is read as it was written, to the last bit") {
  const test::TemporaryFolder folder;
  for (const char* dtype : {"float32", "float64"}) {
    const Kit kit = example(dtype);
    const auto file = folder.path() / "kit.json";
    write_kit(kit, file);
    const Kit read = read_kit(file);
    CHECK(read.versions == kit.versions);
    CHECK(read.model == kit.model);
    CHECK(read.model_name == kit.model_name);
    CHECK(read.model_sha256 == kit.model_sha256);
    CHECK(read.tokenizer_sha256 == kit.tokenizer_sha256);
    CHECK(read.text == kit.text);
    CHECK(read.dtype == dtype);
    CHECK(read.prefix == 1);
    CHECK(read.ids == kit.ids);
    REQUIRE(read.policies.size() == 3);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(read.policies[i].id == kit.policies[i].id);
      CHECK(read.policies[i].label == kit.policies[i].label);
      CHECK(read.policies[i].policy == kit.policies[i].policy);
      CHECK(read.policies[i].cached == kit.policies[i].cached);
      CHECK(read.policies[i].first == kit.policies[i].first);
      CHECK(read.policies[i].nll == kit.policies[i].nll);
      CHECK(read.policies[i].decisions == kit.policies[i].decisions);
    }
    CHECK(&read.policy("sinks 2+5") == &read.policy("sinks-2+5-original"));
    Kit two = read;
    two.policies.push_back(two.policies[1]);
    two.policies.back().id = "sinks-2+5";
    CHECK_THROWS_WITH(two.policy("sinks 2+5"),
                      ContainsSubstring("'sinks 2+5' is of several of the kit's policies; expected "
                                        "one of sinks-2+5-original, sinks-2+5"));
    CHECK_THROWS_WITH(read.policy("sinks-2+6-original"),
                      ContainsSubstring("no policy 'sinks-2+6-original'; did you mean "
                                        "'sinks-2+5-original'"));
  }
}

TEST_CASE("what is no kit is refused with the reason") {
  const test::TemporaryFolder folder;
  const auto file = folder.path() / "kit.json";
  const auto reason = [&](const std::string& from, const std::string& to) {
    write_kit(example("float32"), file);
    std::string text = read_file(file);
    const size_t at = text.find(from);
    REQUIRE(at != text.npos);
    folder.write("kit.json", text.replace(at, from.size(), to));
    try {
      read_kit(file);
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("read");
  };
  CHECK_THAT(reason("sinkbench conformance kit", "a kit"),
             ContainsSubstring("kit.json: no kit of `sinkbench golden`: format is "));
  CHECK_THAT(reason("\"version\": 1", "\"version\": 2"),
             ContainsSubstring("version is 2; expected an integer from 1 to 1"));
  CHECK_THAT(reason("[0,7", "[7"), ContainsSubstring("nll has 19 numbers; expected 18"));
  CHECK_THAT(reason("\"prefix\": 1", "\"prefix\": 19"), ContainsSubstring("prefix is 19"));
  CHECK_THAT(reason("\"original\"", "\"other\""),
             ContainsSubstring(
                 "policy.positions is \"other\"; expected one of cache, original, frozen, capped"));
  CHECK_THAT(reason("\"h2o-8\"", "\"dense\""), ContainsSubstring("'dense' stands twice"));
  CHECK_THAT(reason("\"cached\":7", "\"cached\":-7"),
             ContainsSubstring(
                 "policies.sinks-2+5-original.cached is -7; expected an integer of 0 or more"));
  CHECK_THAT(reason("\"first_evicted\":9", "\"first_evicted\":20"),
             ContainsSubstring("first_evicted is 20; expected an integer from 2 to 19"));
  CHECK(reason(",\"first_evicted\":9", "") == "read");
  CHECK(read_kit(file).policy("sinks-2+5-original").first == 9);  // an older kit's is the cache's
  CHECK_THAT(reason("\"ids\"", "\"id\""), ContainsSubstring("expected 'ids', which isn't there"));
  folder.write("kit.json", "{");
  CHECK_THROWS_WITH(read_kit(file), ContainsSubstring("kit.json: no kit"));
}

TEST_CASE("numbers of other programs are read in every form") {
  const test::TemporaryFolder folder;
  const std::vector<double> values = {0.5, 2, -1.25, 1e-3};
  CHECK(read_nlls(folder.write("a.json", "[0.5, 2,\n -1.25, 1e-3]\n")) == values);
  CHECK(read_nlls(folder.write("a.txt", "0.5\n2.0\r\n-1.25\n+0.001\n")) == values);
  CHECK(read_nlls(folder.write("a", " [0.5,2,-1.25,0.001]")) == values);
  CHECK(read_nlls(folder.write("a.csv", "0.5,\n2,\n-1.25,\n0.001,\n")) == values);
  for (const char* gap : {"[0.5,2,,0.001]", "[,0.5,2]", "0.5,2,\n,0.001"}) {
    CHECK_THROWS_WITH(read_nlls(folder.write("gap.json", gap)),
                      ContainsSubstring("no number before a comma; expected an NLL"));
  }
  const auto raw = [&](auto number) {
    std::string bytes;
    for (const double value : values) {
      number = static_cast<decltype(number)>(value);
      bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
    }
    return bytes;
  };
  CHECK(read_nlls(folder.write("a.f64", raw(0.0))) == values);
  for (const char* name : {"a.f32", "a.bin"}) {
    const std::vector<double> read = read_nlls(folder.write(name, raw(0.0f)));
    REQUIRE(read.size() == 4);
    CHECK(read[2] == -1.25);
    CHECK(read[3] == static_cast<double>(1e-3f));
  }
  // Raw numbers are such though they begin as a list or a number does.
  for (const char first : {'[', '1', ' ', '\n'}) {
    const std::string bytes = first + std::string("\x00\x00\x3f\x00\x00\xa0\xbf", 7);
    const std::vector<double> read = read_nlls(folder.write("begins.bin", bytes));
    REQUIRE(read.size() == 2);
    CHECK(std::abs(read[0] - 0.5) < 1e-5);
    CHECK(read[1] == -1.25);
  }
  // NumPy's, as numpy.save writes it.
  const auto npy = [&](const char* type, const std::string& data) {
    std::string header =
        fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': (4,), }}", type);
    header.resize(117, ' ');
    return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" + data;
  };
  CHECK(read_nlls(folder.write("a.npy", npy("<f8", raw(0.0)))) == values);
  CHECK(read_nlls(folder.write("b.npy", npy("<f4", raw(0.0f))))[2] == -1.25);
  CHECK(read_nlls(folder.write("bom.txt",
                               "\xef\xbb\xbf"
                               "0.5\n2\n-1.25\n0.001\n")) == values);
  // What Python's json.dumps makes of a NaN, and others.
  const auto none = read_nlls(folder.write("n.json", "[1.0, NaN, null, Infinity]"));
  REQUIRE(none.size() == 4);
  CHECK(std::isnan(none[1]));
  CHECK(std::isnan(none[2]));
  CHECK(std::isinf(none[3]));

  const auto reason = [&](const std::string& name, const std::string& content) {
    try {
      read_nlls(folder.write(name, content));
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string("read");
  };
  CHECK_THAT(reason("b.txt", "0.5\nperplexity\n"),
             ContainsSubstring("b.txt:2: 'perplexity'; expected an NLL, a number"));
  CHECK_THAT(reason("b.json", "[1, 2"), ContainsSubstring("b.json: a list without its end"));
  CHECK_THAT(reason("b.json", "[1, [2]]"), ContainsSubstring("b.json:1: '[2]'; expected an NLL"));
  CHECK_THAT(reason("b.json", "{\"nll\": [1]}"), ContainsSubstring("expected an NLL"));
  CHECK_THAT(reason("b.csv", "0,0.5\n1,2.5\n"),
             ContainsSubstring("2 numbers on each line; expected one"));
  CHECK_THAT(reason("b.gz", std::string("\x1f\x8b\x08\x00", 4)), ContainsSubstring("compressed"));
  CHECK_THAT(reason("b.bin", std::string("\x00\x00\x80\x7e\x00\x00\x80\x3f", 8)),
             ContainsSubstring("as raw float32 its number 1 would be 8.50706e+37"));
  CHECK_THAT(reason("b.npy", "\x93NUMPY"), ContainsSubstring("an array of NumPy's"));
  CHECK_THAT(reason("b.npy", npy("<f8", raw(0.0f))),
             ContainsSubstring("an array of 4 numbers in 16 bytes; expected 8 for each"));
  CHECK_THAT(reason("b.f64", ""), ContainsSubstring("no numbers"));
  CHECK_THAT(reason("b.f32", "abc"), ContainsSubstring("3 bytes; expected raw float32"));
  CHECK_THAT(reason("b.bin", std::string("\x00\x01\x02", 3)), ContainsSubstring("multiple of 4"));
  CHECK_THAT(reason("b.txt", " \n"), ContainsSubstring("no numbers; expected NLLs in nats"));
  CHECK_THAT(reason("b.json", "[]"), ContainsSubstring("no numbers"));
}
