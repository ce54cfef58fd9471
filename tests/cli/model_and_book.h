// What an experiment by hand needs: a folder with a small model and a text.
#pragma once

#include <filesystem>
#include <string>

#include "tests/data.h"
#include "tests/files.h"

namespace sinkbench::test {

/// `model` with its tokenizer, and `book.txt` of one line.
struct ModelAndBook : TemporaryFolder {
  ModelAndBook() {
    std::filesystem::copy(data("families/llama_mha"), path() / "model");
    std::filesystem::copy(data("tokenizers/byte_level.json"), path() / "model/tokenizer.json");
    write("book.txt", std::string("It was a bright cold day, and the clocks were wrong.\n"));
  }
};

}  // namespace sinkbench::test
