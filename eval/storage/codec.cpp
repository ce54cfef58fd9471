#include "eval/storage/codec.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <random>

#include "base/error.h"
#include "base/gguf.h"
#include "models/ggml_blocks.h"

namespace sinkbench {
namespace {

constexpr int64_t block = 32;

template <typename T>
void put(T value, std::byte*& out) {
  std::memcpy(out, &value, sizeof value);
  out += sizeof value;
}

/// c10::Half and c10::BFloat16 round to nearest, ties to even.
template <typename T>
class Narrowed final : public Codec {
 public:
  explicit Narrowed(int64_t numbers) : numbers_(numbers) {}
  int64_t row_bytes() const override { return numbers_ * static_cast<int64_t>(sizeof(T)); }
  void encode(const float* row, std::byte* out) const override {
    for (int64_t i = 0; i < numbers_; ++i) put(T(row[i]), out);
  }
  void decode(const std::byte* bytes, float* row) const override {
    for (int64_t i = 0; i < numbers_; ++i) {
      T value;
      std::memcpy(&value, bytes + i * static_cast<int64_t>(sizeof value), sizeof value);
      row[i] = static_cast<float>(value);
    }
  }

 private:
  int64_t numbers_;
};

/// OCP's E4M3 (1 sign, 4 exponent bits of bias 7, 3 of the fraction; no infinity, largest 448),
/// with a scale of 1: to nearest, ties to even; what is larger becomes 448.
struct Float8 {
  uint8_t bits = 0;
  Float8() = default;
  explicit Float8(float value) {
    const uint8_t sign = std::signbit(value) ? 0x80 : 0;
    const float size = std::abs(value);
    if (!(size < 448)) {  // NaN, too, of which there is none where the NLL is a number
      bits = sign | (std::isnan(size) ? 0x7F : 0x7E);
      return;
    }
    int exponent = 0;
    std::frexp(size, &exponent);  // size = f 2^exponent, 0.5 <= f < 1
    // Steps between neighbours: 2^(e - 3) of numbers from 2^e on, 2^-9 below 2^-6.
    const int step = size == 0 ? -9 : std::max(exponent - 1, -6) - 3;
    const auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, -step)));
    // 8 to 15 steps of a normal number; 16 are 8 of the next exponent.
    bits = sign | static_cast<uint8_t>(step == -9 ? steps : ((step + 9) << 3) + steps);
  }
  explicit operator float() const {
    const int exponent = bits >> 3 & 15, fraction = bits & 7;
    if ((bits & 0x7F) == 0x7F) return std::numeric_limits<float>::quiet_NaN();
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                     : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
    return bits & 0x80 ? -size : size;
  }
};

/// ggml's blocks of 32, quantised as quantize_row_*_ref of ggml-quants.c does it; decoded as
/// weights are.
class GgmlBlocks final : public Codec {
 public:
  GgmlBlocks(GgmlType::Id id, int64_t numbers) : type_(*find_ggml_type(id)), numbers_(numbers) {}
  int64_t row_bytes() const override { return numbers_ / block * type_.bytes; }
  void encode(const float* row, std::byte* out) const override {
    for (int64_t b = 0; b < numbers_; b += block) encode_block(row + b, out);
  }
  void decode(const std::byte* bytes, float* row) const override {
    decode_blocks(type_, bytes, numbers_, row);
  }

 private:
  void encode_block(const float* x, std::byte*& out) const {
    const bool halves = type_.id == GgmlType::q5_0 || type_.id == GgmlType::q5_1;
    const bool offset = type_.id == GgmlType::q4_1 || type_.id == GgmlType::q5_1;
    if (type_.id == GgmlType::q8_0) {
      float most = 0;
      for (int64_t i = 0; i < block; ++i) most = std::max(most, std::abs(x[i]));
      const float scale = most / 127, inverse = scale != 0 ? 1 / scale : 0;
      put(c10::Half(scale), out);
      for (int64_t i = 0; i < block; ++i) {
        put(static_cast<int8_t>(std::round(x[i] * inverse)), out);
      }
      return;
    }
    const int levels = halves ? 32 : 16;
    float scale = 0, least = 0;
    if (offset) {
      const auto [low, high] = std::minmax_element(x, x + block);
      least = *low;
      scale = (*high - *low) / static_cast<float>(levels - 1);
    } else {
      float most = 0;  // with its sign, of the largest size, the first of equals
      for (int64_t i = 0; i < block; ++i) {
        if (std::abs(x[i]) > std::abs(most)) most = x[i];
      }
      scale = most / static_cast<float>(-levels / 2);
    }
    const float inverse = scale != 0 ? 1 / scale : 0;
    const float half_up = static_cast<float>(levels / 2) + 0.5F;
    put(c10::Half(scale), out);
    if (offset) put(c10::Half(least), out);
    uint8_t quants[block];
    for (int64_t i = 0; i < block; ++i) {
      const float middle = offset ? (x[i] - least) * inverse + 0.5F : x[i] * inverse + half_up;
      quants[i] = static_cast<uint8_t>(std::min(levels - 1, static_cast<int>(middle)));
    }
    if (halves) {
      uint32_t fifth = 0;
      for (int64_t i = 0; i < block; ++i) fifth |= static_cast<uint32_t>(quants[i] >> 4) << i;
      put(fifth, out);
    }
    for (int64_t i = 0; i < block / 2; ++i) {
      put(static_cast<uint8_t>((quants[i] & 15) | (quants[i + block / 2] & 15) << 4), out);
    }
  }

  const GgmlType& type_;
  int64_t numbers_;
};

/// One scale for a row, symmetric about 0: scale = max|x| / (2^(bits-1) - 1) as float16, which is
/// what is divided by; to nearest, halves away from 0.
class RowIntegers final : public Codec {
 public:
  RowIntegers(int bits, int64_t numbers) : bits_(bits), numbers_(numbers) {}
  int64_t row_bytes() const override { return 2 + (numbers_ * bits_ + 7) / 8; }
  void encode(const float* row, std::byte* out) const override {
    const int largest = (1 << (bits_ - 1)) - 1;
    float most = 0;
    for (int64_t i = 0; i < numbers_; ++i) most = std::max(most, std::abs(row[i]));
    const c10::Half scale(most / static_cast<float>(largest));
    const auto divisor = static_cast<float>(scale);
    put(scale, out);
    const auto quant = [&](int64_t i) {
      if (i >= numbers_ || divisor == 0) return 0;
      const float q = std::round(row[i] / divisor);
      return static_cast<int>(
          std::clamp(q, -static_cast<float>(largest), static_cast<float>(largest)));
    };
    for (int64_t i = 0; i < numbers_; i += bits_ == 8 ? 1 : 2) {
      put(static_cast<uint8_t>(bits_ == 8 ? quant(i) : (quant(i) & 15) | (quant(i + 1) & 15) << 4),
          out);
    }
  }
  void decode(const std::byte* bytes, float* row) const override {
    c10::Half half;
    std::memcpy(&half, bytes, 2);
    const auto scale = static_cast<float>(half);
    for (int64_t i = 0; i < numbers_; ++i) {
      if (bits_ == 8) {
        row[i] = scale * static_cast<float>(static_cast<int8_t>(bytes[2 + i]));
        continue;
      }
      const int pair = static_cast<int>(bytes[2 + i / 2]);
      const int quant = i % 2 == 0 ? pair & 15 : pair >> 4;
      row[i] = scale * static_cast<float>(quant >= 8 ? quant - 16 : quant);
    }
  }

 private:
  int bits_;
  int64_t numbers_;
};

class Grouped final : public Codec {
 public:
  Grouped(int bits, int64_t group, int64_t numbers)
      : bits_(bits), group_(group), numbers_(numbers) {}
  int64_t row_bytes() const override { return numbers_ / group_ * (4 + group_ * bits_ / 8); }
  void encode(const float* row, std::byte* out) const override {
    const auto largest = static_cast<float>((1 << bits_) - 1);
    const int each = 8 / bits_;
    for (const float* x = row; x < row + numbers_; x += group_) {
      const auto [low, high] = std::minmax_element(x, x + group_);
      const float least = *low, scale = (*high - least) / largest;
      put(c10::Half(scale), out);
      put(c10::Half(least), out);
      for (int64_t i = 0; i < group_; i += each) {
        int quants = 0;
        for (int j = 0; j < each; ++j) {
          const float q = scale > 0 ? std::nearbyint((x[i + j] - least) / scale) : 0;
          quants |= static_cast<int>(std::clamp(q, 0.0F, largest)) << (j * bits_);
        }
        put(static_cast<uint8_t>(quants), out);
      }
    }
  }
  void decode(const std::byte* bytes, float* row) const override {
    const int each = 8 / bits_, mask = (1 << bits_) - 1;
    for (float* x = row; x < row + numbers_; x += group_) {
      c10::Half scale, least;
      std::memcpy(&scale, bytes, 2);
      std::memcpy(&least, bytes + 2, 2);
      bytes += 4;
      for (int64_t i = 0; i < group_; ++i) {
        const int quant = static_cast<int>(bytes[i / each]) >> (i % each * bits_) & mask;
        x[i] = static_cast<float>(quant) * static_cast<float>(scale) + static_cast<float>(least);
      }
      bytes += group_ / each;
    }
  }

 private:
  int bits_;
  int64_t group_, numbers_;
};

/// TurboQuant's first quantiser (Zandieh et al. 2025, arXiv 2504.19874, algorithm 1): a vector's
/// norm as float16, and each coordinate of its direction, rotated at random, at the nearest level.
/// Of `part` neighbours each: all of them, or 32, then rotated by a Hadamard matrix.
class TurboQuant final : public Codec {
 public:
  TurboQuant(int bits, int64_t numbers, int64_t part, bool at_random)
      : bits_(bits), numbers_(numbers), part_(part), levels_(sphere_levels(bits, part)) {
    if (!at_random) return;
    const std::vector<double> rotation = random_rotation(numbers);
    rows_.assign(rotation.begin(), rotation.end());
    for (int64_t j = 0; j < numbers; ++j) {
      for (int64_t i = 0; i < numbers; ++i) {
        columns_.push_back(static_cast<float>(rotation[i * numbers + j]));
      }
    }
  }
  int64_t row_bytes() const override { return numbers_ / part_ * 2 + numbers_ * bits_ / 8; }
  void encode(const float* row, std::byte* out) const override {
    std::vector<float> y(part_);
    uint32_t pending = 0;
    int filled = 0;
    for (int64_t begin = 0; begin < numbers_; begin += part_) {
      const float* x = row + begin;
      double squares = 0;
      for (int64_t i = 0; i < part_; ++i) squares += static_cast<double>(x[i]) * x[i];
      const double norm = std::sqrt(squares);
      put(c10::Half(static_cast<float>(norm)), out);
      for (int64_t i = 0; i < part_; ++i) {
        y[i] = norm > 0 ? static_cast<float>(x[i] / norm) : 0;
      }
      turn(y.data(), /*back=*/false);
      for (int64_t i = 0; i < part_; ++i) {
        pending |= nearest(y[i]) << filled;
        for (filled += bits_; filled >= 8; filled -= 8, pending >>= 8) {
          put(static_cast<uint8_t>(pending & 255), out);
        }
      }
    }
  }
  void decode(const std::byte* bytes, float* row) const override {
    for (int64_t begin = 0; begin < numbers_; begin += part_) {
      c10::Half norm;
      std::memcpy(&norm, bytes, 2);
      bytes += 2;
      uint32_t pending = 0;
      int filled = 0;
      for (int64_t i = 0; i < part_; ++i) {
        for (; filled < bits_; filled += 8) {
          pending |= static_cast<uint32_t>(*bytes++) << filled;
        }
        row[begin + i] = static_cast<float>(levels_[pending & ((1U << bits_) - 1)]);
        pending >>= bits_;
        filled -= bits_;
      }
      turn(row + begin, /*back=*/true);
      for (int64_t i = 0; i < part_; ++i) row[begin + i] *= static_cast<float>(norm);
    }
  }

 private:
  uint32_t nearest(float y) const {
    uint32_t level = 0;
    while (level + 1 < levels_.size() && y > (levels_[level] + levels_[level + 1]) / 2) ++level;
    return level;
  }
  void turn(float* y, bool back) const {
    if (rows_.empty()) {
      hadamard(y, part_);
      return;
    }
    std::vector<float> turned(part_, 0.0F);
    for (int64_t j = 0; j < part_; ++j) {  // a column of the rotation, or of its inverse, at a time
      const float* const column = (back ? rows_ : columns_).data() + j * part_;
      for (int64_t i = 0; i < part_; ++i) turned[i] += column[i] * y[j];
    }
    std::copy(turned.begin(), turned.end(), y);
  }

  int bits_;
  int64_t numbers_, part_;
  std::vector<double> levels_;
  std::vector<float> rows_, columns_;  // of the rotation, [numbers, numbers]; none: Hadamard's
};

class RotatedCodec final : public Codec {
 public:
  RotatedCodec(std::unique_ptr<Codec> inner, int64_t numbers, int64_t part)
      : inner_(std::move(inner)), numbers_(numbers), part_(part) {}
  int64_t row_bytes() const override { return inner_->row_bytes(); }
  void encode(const float* row, std::byte* out) const override {
    std::vector<float> turned(row, row + numbers_);
    turn(turned.data());
    inner_->encode(turned.data(), out);
  }
  void decode(const std::byte* bytes, float* row) const override {
    inner_->decode(bytes, row);
    turn(row);
  }

 private:
  void turn(float* row) const {
    for (int64_t i = 0; i < numbers_; i += part_) hadamard(row + i, part_);
  }
  std::unique_ptr<Codec> inner_;
  int64_t numbers_, part_;
};

class InterleavedCodec final : public Codec {
 public:
  InterleavedCodec(std::unique_ptr<Codec> inner, int64_t numbers, int64_t pairs)
      : inner_(std::move(inner)), numbers_(numbers), pairs_(pairs) {}
  int64_t row_bytes() const override { return inner_->row_bytes(); }
  void encode(const float* row, std::byte* out) const override {
    std::vector<float> ordered(row, row + numbers_);
    for (int64_t i = 0; i < pairs_; ++i) {
      ordered[2 * i] = row[i];
      ordered[2 * i + 1] = row[i + pairs_];
    }
    inner_->encode(ordered.data(), out);
  }
  void decode(const std::byte* bytes, float* row) const override {
    inner_->decode(bytes, row);
    const std::vector<float> ordered(row, row + 2 * pairs_);
    for (int64_t i = 0; i < pairs_; ++i) {
      row[i] = ordered[2 * i];
      row[i + pairs_] = ordered[2 * i + 1];
    }
  }

 private:
  std::unique_ptr<Codec> inner_;
  int64_t numbers_, pairs_;
};

std::unique_ptr<Codec> make_plain(const std::string& format, int64_t numbers) {
  const auto divided = [&] {
    if (numbers % block == 0) return;
    throw InputError::format(
        "kv {}: its blocks are of {} numbers, and the model's heads have {}; expected another form",
        format, block, numbers);
  };
  if (format == "float16") return std::make_unique<Narrowed<c10::Half>>(numbers);
  if (format == "bfloat16") return std::make_unique<Narrowed<c10::BFloat16>>(numbers);
  if (format == "float8_e4m3") return std::make_unique<Narrowed<Float8>>(numbers);
  if (format == "int8") return std::make_unique<RowIntegers>(8, numbers);
  if (format == "int4") return std::make_unique<RowIntegers>(4, numbers);
  const std::pair<const char*, GgmlType::Id> ggml[] = {{"q8_0", GgmlType::q8_0},
                                                       {"q5_1", GgmlType::q5_1},
                                                       {"q5_0", GgmlType::q5_0},
                                                       {"q4_1", GgmlType::q4_1},
                                                       {"q4_0", GgmlType::q4_0}};
  for (const auto& [name, id] : ggml) {
    if (format != name) continue;
    divided();
    return std::make_unique<GgmlBlocks>(id, numbers);
  }
  for (const int bits : {2, 3, 4}) {
    const std::string name = fmt::format("turboquant{}", bits);
    if (format != name && format != name + "_wht32") continue;
    if (format == name && numbers % 8 == 0) {
      return std::make_unique<TurboQuant>(bits, numbers, numbers, true);
    }
    divided();
    return std::make_unique<TurboQuant>(bits, numbers, block, false);
  }
  throw InputError::format("kv {}: there is no such form", format);
}

}  // namespace

void hadamard(float* x, int64_t n) {
  for (int64_t half = 1; half < n; half *= 2) {
    for (int64_t i = 0; i < n; i += 2 * half) {
      for (int64_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
    }
  }
  const float scale = 1 / std::sqrt(static_cast<float>(n));
  for (int64_t i = 0; i < n; ++i) x[i] *= scale;
}

std::vector<double> sphere_levels(int bits, int64_t n) {
  // The coordinate's density is (1 - x^2)^((n - 3) / 2) on -1 to 1, up to a factor. Each level is
  // the mean of what is nearest to it; the density is summed up on a grid that is fine beside its
  // width.
  constexpr int64_t points = 1 << 16;
  const double reach = std::min(1.0, 12 / std::sqrt(static_cast<double>(n)));
  std::vector<double> mass(points + 1, 0.0), moment(points + 1, 0.0);
  for (int64_t i = 0; i < points; ++i) {
    const double x = reach * (2 * (static_cast<double>(i) + 0.5) / points - 1);
    const double density = std::pow(1 - x * x, (static_cast<double>(n) - 3) / 2);
    mass[i + 1] = mass[i] + density;
    moment[i + 1] = moment[i] + x * density;
  }
  const int64_t count = int64_t{1} << bits;
  std::vector<double> levels(count);
  for (int64_t k = 0; k < count; ++k) {
    levels[k] = 3 / std::sqrt(static_cast<double>(n)) *
                (2 * (static_cast<double>(k) + 0.5) / static_cast<double>(count) - 1);
  }
  struct Sums {
    double mass, moment;
  };
  const auto up_to = [&](double x) -> Sums {
    const double at = std::clamp((x / reach + 1) / 2, 0.0, 1.0) * points;
    const auto whole = std::min(static_cast<int64_t>(at), points - 1);
    const double part = at - static_cast<double>(whole);
    return {std::lerp(mass[whole], mass[whole + 1], part),
            std::lerp(moment[whole], moment[whole + 1], part)};
  };
  for (int round = 0; round < 2000; ++round) {
    double moved = 0;
    Sums begin = {0, 0};
    for (int64_t k = 0; k < count; ++k) {
      const Sums end = up_to(k + 1 < count ? (levels[k] + levels[k + 1]) / 2 : reach);
      if (end.mass > begin.mass) {
        const double mean = (end.moment - begin.moment) / (end.mass - begin.mass);
        moved = std::max(moved, std::abs(mean - levels[k]));
        levels[k] = mean;
      }
      begin = end;
    }
    if (moved < 1e-10) break;
  }
  // Both halves are alike, whatever rounding did.
  for (int64_t k = 0; k < count / 2; ++k) {
    const double size = (levels[count - 1 - k] - levels[k]) / 2;
    levels[k] = -size;
    levels[count - 1 - k] = size;
  }
  return levels;
}

std::vector<double> random_rotation(int64_t n) {
  std::mt19937_64 bits(20250428);  // any: the paper's day
  const auto uniform = [&] {
    return (static_cast<double>(bits() >> 11) + 0.5) / 9007199254740992.0;
  };
  std::vector<double> rows(n * n);
  for (double& value : rows) {  // Box and Muller's; standard libraries draw differently
    const double size = std::sqrt(-2 * std::log(uniform()));
    value = size * std::cos(2 * std::numbers::pi * uniform());
  }
  for (int64_t i = 0; i < n; ++i) {
    double* const row = rows.data() + i * n;
    for (int round = 0; round < 2; ++round) {  // twice is enough
      for (int64_t k = 0; k < i; ++k) {
        const double* const before = rows.data() + k * n;
        double product = 0;
        for (int64_t j = 0; j < n; ++j) product += row[j] * before[j];
        for (int64_t j = 0; j < n; ++j) row[j] -= product * before[j];
      }
    }
    double squares = 0;
    for (int64_t j = 0; j < n; ++j) squares += row[j] * row[j];
    for (int64_t j = 0; j < n; ++j) row[j] /= std::sqrt(squares);
  }
  return rows;
}

std::unique_ptr<Codec> make_grouped_codec(int bits, int64_t group, int64_t numbers) {
  return std::make_unique<Grouped>(bits, group, numbers);
}

std::unique_ptr<Codec> interleaved(std::unique_ptr<Codec> codec, int64_t numbers, int64_t pairs) {
  return std::make_unique<InterleavedCodec>(std::move(codec), numbers, pairs);
}

std::unique_ptr<Codec> make_codec(const std::string& format, int64_t numbers, int64_t rotated) {
  std::unique_ptr<Codec> codec = make_plain(format, numbers);
  if (rotated == 0) return codec;
  return std::make_unique<RotatedCodec>(std::move(codec), numbers, rotated);
}

}  // namespace sinkbench
