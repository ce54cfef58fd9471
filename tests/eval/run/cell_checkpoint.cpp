#include "eval/run/cell_checkpoint.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

/// A checkpoint whose checksum is right, whatever stands in its header and behind it.
std::string with_header(const std::string& header, const std::string& bytes = "") {
  const uint64_t size = header.size();
  std::string content = "sinkbench checkpoint 1\n";
  content.append(reinterpret_cast<const char*>(&size), sizeof size);
  content += header + bytes;
  return content + sha256_hex(content);
}

std::string header(const std::string& tensors, const std::string& next = "5") {
  return R"({"identity":{"model":"m"},"nll_mean":0.5,"scored":4,"seconds":2,"decision_bytes":0,"answer_tensors":0,"state_tensors":1,"next":)" +
         next + R"(,"tensors":)" + tensors + "}";
}

}  // namespace

TEST_CASE("a checkpoint comes back as it was written") {
  const test::TemporaryFolder folder;
  const CellCheckpoint written = {
      .identity = {{"model", "a"}, {"threads", "2"}},
      .next = int64_t{1} << 40,
      .state = {at::arange(6, at::kFloat).view({2, 3}).t(), at::ones({2, 0}, at::kBFloat16),
                at::full({}, 0.1, at::kDouble)},
      .scored = 7,
      .nll_mean = 1.0 / 3,
      .divergence = {},
      .seconds = 0.25,
      .decision_bytes = 12345};
  write_checkpoint(written, folder.path() / "c");
  const CellCheckpoint read = read_checkpoint(folder.path() / "c");
  CHECK(read.identity == written.identity);
  CHECK(read.next == written.next);
  CHECK(read.scored == written.scored);
  CHECK(read.nll_mean == written.nll_mean);
  CHECK(read.seconds == written.seconds);
  CHECK(read.decision_bytes == written.decision_bytes);
  REQUIRE(read.state.size() == written.state.size());
  for (size_t i = 0; i < read.state.size(); ++i) CHECK(read.state[i].equal(written.state[i]));
}

TEST_CASE("a checkpoint with a right checksum and a wrong header is damaged all the same") {
  const test::TemporaryFolder folder;
  const auto read = [&](const std::string& content) {
    write_file_atomically(folder.path() / "c", content);
    return read_checkpoint(folder.path() / "c");
  };
  CHECK(read(with_header(header(R"([{"dtype":"Float","shape":[0,7]}])"))).state[0].size(1) == 7);
  for (const std::string& bad :
       {with_header(header("[]", "5.0")), with_header(header("[]", "1e300")),
        with_header(header("[]", "-1")), with_header(header("[]", "18446744073709551615")),
        with_header(header("{}") + "x"), with_header(header("[7]")), with_header(""),
        with_header(header(R"([{"dtype":"Int","shape":[1]}])"), "1234"),
        with_header(header(R"([{"dtype":"Float","shape":[2]}])"), "1234"),
        with_header(header(R"([{"dtype":"Float","shape":[-1]}])"), "1234"),
        with_header(header(R"([{"dtype":"Float","shape":[1e300]}])"), "1234"),
        with_header(header(R"([{"dtype":"Float","shape":[4294967296,4294967296]}])"), "1234"),
        with_header(header(R"([{"dtype":"Float","shape":[4294967296,4294967296,0]}])"), "1234")}) {
    CHECK_THROWS_WITH(read(bad), Catch::Matchers::EndsWith("the checkpoint is damaged"));
    CHECK_THROWS_AS(read(bad), InputError);
  }
}
