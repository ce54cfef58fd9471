// What a user chooses of a policy.
#pragma once

#include <concepts>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "policies/policy.h"

namespace sinkbench {

/// An integer, a real number, a word or a list of integers.
class PolicyValue {
 public:
  PolicyValue() : value_(int64_t{0}) {}
  template <std::integral T>
  PolicyValue(T value) : value_(static_cast<int64_t>(value)) {}
  PolicyValue(double number) : value_(number) {}
  PolicyValue(const char* word) : value_(std::string(word)) {}
  PolicyValue(std::string word) : value_(std::move(word)) {}
  PolicyValue(std::vector<int64_t> list) : value_(std::move(list)) {}

  bool is_integer() const { return std::holds_alternative<int64_t>(value_); }
  bool is_real() const { return std::holds_alternative<double>(value_); }
  bool is_word() const { return std::holds_alternative<std::string>(value_); }
  bool is_list() const { return std::holds_alternative<std::vector<int64_t>>(value_); }
  int64_t integer() const { return std::get<int64_t>(value_); }
  double real() const { return std::get<double>(value_); }
  const std::string& word() const { return std::get<std::string>(value_); }
  const std::vector<int64_t>& list() const { return std::get<std::vector<int64_t>>(value_); }

  auto operator<=>(const PolicyValue&) const = default;

 private:
  std::variant<int64_t, double, std::string, std::vector<int64_t>> value_;
};

/// "4", "0.3", "mean", "[48, 32, 16]"
std::string to_string(const PolicyValue& value);

/// By name; one of a group has a dot in it, as "budget.by_layer".
using PolicyArguments = std::map<std::string, PolicyValue>;

/// No argument is larger; keeps sums of arguments and stream places far from overflow.
inline constexpr int64_t largest_policy_argument = int64_t{1} << 40;

/// The shared library that a policy comes from.
struct PolicyPlugin {
  std::string file = {};     ///< empty: the policy is of the program
  std::string sha256 = {};   ///< of the file; empty where it has not been looked at
  std::string version = {};  ///< as it says itself
  auto operator<=>(const PolicyPlugin&) const = default;
};

struct PolicySpec {
  std::string name;
  PolicyArguments arguments = {};
  Positions positions = Positions::cache;
  int64_t cap = 0;  ///< Positions::capped: the largest distance; else 0
  PolicyPlugin plugin = {};
  auto operator<=>(const PolicySpec&) const = default;
};

/// What others are held against: dense attention as the model has it, its distances not capped.
inline bool is_plain_dense(const PolicySpec& policy) {
  return policy.name == "dense" && policy.positions == Positions::cache;
}

}  // namespace sinkbench
