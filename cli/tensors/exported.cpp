#include "cli/tensors/commands.h"
#include "eval/metrics/sink_metric.h"
#include "eval/run/generate.h"
#include "eval/run/inspect.h"

/// What cli/tensors.cpp looks for.
extern "C" __attribute__((visibility("default")))
const sinkbench::TensorCommands sinkbench_tensor_commands = {
    .run_experiment = sinkbench::run_experiment,
    .plan = sinkbench::plan,
    .missing = sinkbench::missing,
    .verify = sinkbench::verify,
    .verify_policies = sinkbench::verify_policies,
    .bench = sinkbench::bench,
    .inspect_model = sinkbench::inspect_model,
    .run_sinks = sinkbench::run_sinks,
    .run_generation = sinkbench::run_generation,
    .fed_stream = sinkbench::fed_stream,
    .make_kit = sinkbench::make_kit,
    .score_variants = sinkbench::score_variants,
    .train = sinkbench::run_training};
