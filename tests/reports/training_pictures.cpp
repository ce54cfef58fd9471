#include "reports/training_pictures.h"

#include "base/error.h"
#include "base/file.h"
#include "reports/gnuplot.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

struct Trained : test::TemporaryFolder {
  Trained() {
    std::string losses = "step,tokens,loss,gradient_norm,learning_rate\n";
    for (int step = 1; step <= 400; ++step) {
      losses += fmt::format("{},{},{},1,{}\n", step, step * 1000, 4.0 + step % 2, step * 1e-5);
    }
    write("loss.csv", losses);
    write("validation.csv",
          "step,tokens,held_out_loss,first_mean_0,first_max_0,first_mean_1,first_max_1\n"
          "200,200000,5.5,0.1,0.2,0.3,0.4\n400,400000,5.25,0.15,0.25,0.35,0.45\n");
  }
};

}  // namespace

TEST_CASE("a training's pictures are of means over blocks of steps and of each layer's attention") {
  const Trained folder;
  if (find_gnuplot().empty()) {
    CHECK_THROWS_WITH(draw_training(folder.path()), ContainsSubstring("gnuplot is not installed"));
    return;
  }
  draw_training(folder.path());
  for (const char* name : {"loss", "sinks"}) {
    for (const char* extension : picture_extensions) {
      CHECK(std::filesystem::file_size(folder.path() / "plots" / (std::string(name) + extension)) >
            0);
    }
  }
  const std::string csv = read_file(folder.path() / "plots/loss.csv");
  // 100 blocks of 4 steps, with losses 5, 4, 5, 4.
  CHECK_THAT(csv, ContainsSubstring("value\ntraining,0.0025,4.5\ntraining,0.0065,4.5\n"));
  CHECK_THAT(csv, ContainsSubstring("\ntraining,0.3985,4.5\n"));
  CHECK_THAT(csv, ContainsSubstring("\nheld out,0.4,5.25\n"));
  CHECK_THAT(read_file(folder.path() / "plots/sinks.csv"),
             ContainsSubstring("\n0.4,0.15,0.25,0.35,0.45\n"));
}

TEST_CASE("a log that is none is refused by line") {
  const Trained folder;
  if (find_gnuplot().empty()) return;
  folder.write("validation.csv", "step,tokens,held_out_loss\n200,200000,much\n");
  CHECK_THROWS_WITH(draw_training(folder.path()),
                    ContainsSubstring("validation.csv: line 2: expected a number, found 'much'"));
  folder.write("validation.csv", "step,tokens,held_out_loss\n200,200000\n");
  CHECK_THROWS_WITH(draw_training(folder.path()),
                    ContainsSubstring("validation.csv: line 2: expected 3 numbers, found 2"));
  folder.write("loss.csv", "step;tokens\n");
  CHECK_THROWS_WITH(draw_training(folder.path()), ContainsSubstring("loss.csv: line 1: expected"));
}
