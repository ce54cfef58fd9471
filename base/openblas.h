// Which kernels OpenBLAS uses, and which it should.
#pragma once

#include <string>
#include <string_view>

#include "base/simd.h"

namespace sinkbench {

/// What OpenBLAS's kernels are written for, by the name of their processor ("Haswell"), as
/// openblas_get_corename has it.
simd::Level openblas_level(std::string_view core);

/// OpenBLAS chooses its kernels by the processor's model, and takes those that are newer than
/// itself for some old one (before 0.3.25 recent ones of Intel, before 0.3.22 AMD's with AVX-512),
/// several times slower. The value of OPENBLAS_CORETYPE that ends it; "" where `core` is right.
std::string better_openblas_core(std::string_view core, simd::Level processor = simd::level());

}  // namespace sinkbench
