#include "base/yaml.h"

#include <yaml-cpp/eventhandler.h>

#include <charconv>
#include <sstream>

#include "base/error.h"

namespace sinkbench {
namespace {

/// Takes notice of nothing in a YAML document.
struct Ignore final : YAML::EventHandler {
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

}  // namespace

YAML::Node parse_yaml(const std::string& content, const std::string& name) {
  if (content.starts_with("\x7f"
                          "ELF")) {
    throw InputError::format(
        "{}: is a program or a shared library; expected YAML (policies of a plug-in: --plugin "
        "FILE)",
        name);
  }
  try {
    // Not LoadAll: on some broken files it finds documents without end.
    std::istringstream stream(content);
    YAML::Parser parser(stream);
    Ignore ignore;
    if (parser.HandleNextDocument(ignore) && parser.HandleNextDocument(ignore)) {
      throw InputError::format("{}: has several YAML documents; expected one", name);
    }
    return YAML::Load(content);
  } catch (const YAML::Exception& error) {
    throw InputError::format("{}:{}: not valid YAML: {}", name, error.mark.line + 1, error.msg);
  }
}

std::optional<int64_t> integer_of(const YAML::Node& node) {
  if (!node.IsScalar()) return std::nullopt;
  std::string_view digits = node.Scalar();
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.remove_prefix(1);
  int64_t value = 0;
  const char* const end = digits.data() + digits.size();
  if (std::from_chars(digits.data(), end, value) != std::from_chars_result{end, std::errc()}) {
    return std::nullopt;
  }
  return value;
}

}  // namespace sinkbench
