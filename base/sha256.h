#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file.h"

namespace sinkbench {

/// SHA-256 of bytes given in pieces (FIPS 180-4, through OpenSSL).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  void update(std::span<const std::byte> bytes);
  /// The file's contents; the memory that they take while they are read is given back.
  void update(const MappedFile& file);
  /// 64 lower-case hexadecimal digits. Call once, at the end.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view bytes);

/// Of the files' contents, one after the other. That of large ones is remembered in
/// $XDG_CACHE_HOME/sinkbench/sha256 (or ~/.cache) by their paths and stamps, unless they have just
/// been changed; where nothing can be written there, it is computed each time.
std::string sha256_of(std::span<const std::shared_ptr<const MappedFile>> files);

}  // namespace sinkbench
