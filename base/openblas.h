// Which kernels OpenBLAS uses, and which it should.
#pragma once

#include <string>
#include <string_view>

namespace sinkbench {

/// Vector instructions that kernels of matrix products are written for.
enum class VectorLevel { none, avx2, avx512 };

/// Of this processor, by its feature bits; `none` of other kinds than x86-64.
VectorLevel processor_vectors();

/// Of OpenBLAS's kernels by the name of their processor ("Haswell"), as openblas_get_corename has it.
VectorLevel openblas_vectors(std::string_view core);

/// OpenBLAS chooses its kernels by the processor's model, and takes those that are newer than itself
/// for some old one (before 0.3.25 recent ones of Intel, before 0.3.22 AMD's with AVX-512), several
/// times slower. The value of OPENBLAS_CORETYPE that ends it; "" where `core` is right.
std::string better_openblas_core(std::string_view core, VectorLevel processor = processor_vectors());

}  // namespace sinkbench
