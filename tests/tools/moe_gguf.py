"""GGUF files of the mixtures of experts by llama.cpp's own converter, without a vocabulary:
tests/data/gguf/{mixtral,qwen2_moe_all,qwen3_moe_all,olmoe,gpt_oss,gpt_oss_mxfp4}.gguf. Matrices are in BF16, as in the
checkpoints, so that nothing is rounded; gpt_oss_mxfp4's experts stay in MXFP4. LLAMA_CPP is llama.cpp's source.

    pip install transformers torch pyyaml requests tqdm
    python3 tests/tools/moe_gguf.py LLAMA_CPP tests/data/families tests/data/gguf
"""
import pathlib
import sys

source, families, target = map(pathlib.Path, sys.argv[1:4])
sys.path.insert(0, str(source))

import convert_hf_to_gguf as converter  # noqa: E402
import gguf  # noqa: E402  (llama.cpp's, whose folder the converter has put into sys.path)
import torch  # noqa: E402

for name in ["mixtral", "qwen2_moe_all", "qwen3_moe_all", "olmoe", "gpt_oss", "gpt_oss_mxfp4"]:
    config = converter.ModelBase.load_hparams(families / name, is_mistral_format=False)
    architecture = converter.get_model_architecture(config, converter.ModelType.TEXT)
    kind = converter.get_model_class(architecture)
    kind.set_vocab = lambda self: None  # there is no tokenizer
    with torch.inference_mode():
        kind(families / name, gguf.LlamaFileType.MOSTLY_BF16, target / f"{name}.gguf").write()
