// scripts/make-sbom on the program that was built.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// A command's exit status; what it prints goes to `out` in the folder.
int run(const test::TemporaryFolder& folder, const std::string& command) {
  const int status = std::system(
      fmt::format("cd {} && {{ {}; }} >out 2>err", folder.path().string(), command).c_str());
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("the SBOM has the packages that are linked, their versions, and no loose ends") {
  const test::TemporaryFolder folder;
  if (run(folder,
          "python3 --version && dpkg-query -W libfmt-dev nlohmann-json3-dev libcli11-dev && "
          "readelf --version") != 0) {
    WARN("no python3, dpkg or binutils, or libraries of another origin: skipped");
    return;
  }
  const fs::path program = SINKBENCH_PROGRAM;
  const test::Variable script(
      "SCRIPT", (fs::path(SINKBENCH_TESTS).parent_path() / "scripts/make-sbom").c_str());
  const test::Variable place("PLACE", program.parent_path().c_str());
  const test::Variable date("SOURCE_DATE_EPOCH", "1700000000");
  REQUIRE(run(folder, "\"$SCRIPT\" \"$PLACE\"") == 0);
  const auto sbom = nlohmann::json::parse(read_file(folder.path() / "out"));
  CHECK(sbom.at("spdxVersion") == "SPDX-2.3");
  CHECK(sbom.at("creationInfo").at("created") == "2023-11-14T22:13:20Z");

  std::set<std::string> identifiers{"SPDXRef-DOCUMENT"};
  std::map<std::string, nlohmann::json> packages;
  for (const auto& package : sbom.at("packages")) {
    CHECK(identifiers.insert(package.at("SPDXID")).second);
    packages[package.at("name")] = package;
  }
  std::set<std::string> linked;
  for (const auto& relationship : sbom.at("relationships")) {
    CHECK(identifiers.count(relationship.at("spdxElementId")) == 1);
    CHECK(identifiers.count(relationship.at("relatedSpdxElement")) == 1);
    if (relationship.at("spdxElementId") == "SPDXRef-Package-sinkbench") {
      linked.insert(relationship.at("relatedSpdxElement"));
    }
  }
  CHECK(linked.count("SPDXRef-Package-libc6") == 1);
  CHECK(linked.count("SPDXRef-Package-zlib1g") == 1);
  CHECK(packages.at("zlib1g").at("licenseDeclared") == "Zlib");
  CHECK(packages.at("nlohmann-json3-dev").at("licenseDeclared").get<std::string>().find("MIT") !=
        std::string::npos);
  REQUIRE(run(folder, "dpkg-query -W -f '${Version}' zlib1g") == 0);
  CHECK(packages.at("zlib1g").at("versionInfo") == read_file(folder.path() / "out"));
  std::set<std::string> extracted;
  for (const auto& text : sbom.at("hasExtractedLicensingInfos")) {
    extracted.insert(text.at("licenseId"));
    CHECK_FALSE(text.at("extractedText").get<std::string>().empty());
  }
  for (const auto& [name, package] : packages) {  // each licence that SPDX has no name for is there
    std::istringstream words(package.at("licenseDeclared").get<std::string>());
    for (std::string word; words >> word;) {
      word.erase(
          std::remove_if(word.begin(), word.end(), [](char c) { return c == '(' || c == ')'; }),
          word.end());
      if (word.starts_with("LicenseRef-")) CHECK(extracted.count(word) == 1);
    }
  }

  CHECK(run(folder, "\"$SCRIPT\" nowhere") == 1);
  CHECK(read_file(folder.path() / "err") ==
        "make-sbom: nowhere/sinkbench: no such file; build sinkbench first\n");
}
