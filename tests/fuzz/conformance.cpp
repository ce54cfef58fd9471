#include "eval/conformance/kit.h"
#include "eval/conformance/variants.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile kit("kit.json"), numbers("numbers"), doubles("numbers.f64");
  fuzz::run(numbers, data, size, [] { read_nlls(numbers.file()); });
  fuzz::run(doubles, data, size, [] { read_nlls(doubles.file()); });
  return fuzz::run(kit, data, size, [] {
    const Kit read = read_kit(kit.file());
    for (const KitPolicy& policy : read.policies) {
      for (const Variant& variant : variants_of(policy, read)) {
        variants_beside(variant, policy, read);
      }
    }
  });
}
