"""Rows of numbers in the forms of the packages gguf and ml_dtypes: tests/data/storage/blocks.json.

    pip install gguf numpy ml_dtypes
    python3 tests/tools/storage_blocks.py > tests/data/storage/blocks.json
"""
import json

import ml_dtypes
import numpy as np
from gguf import GGMLQuantizationType, quants

rng = np.random.default_rng(7)
rows = rng.standard_normal((6, 64)).astype(np.float32)
rows[1] *= 30
rows[2, 32:] = 0
rows[3] = np.round(rows[3] * 2) / 2  # many equals
rows[4, 5] = -100
rows[5] = np.abs(rows[5]) + 3  # none below 0
result = {"gguf": __import__("importlib.metadata").metadata.version("gguf"),
          "ml_dtypes": ml_dtypes.__version__, "rows": [[float(x) for x in row] for row in rows], "bytes": {}}
for name in ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]:
    kind = GGMLQuantizationType[name.upper()]
    result["bytes"][name] = [quants.quantize(row, kind).tobytes().hex() for row in rows]
for name, dtype in [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16),
                    ("float8_e4m3", ml_dtypes.float8_e4m3fn)]:
    result["bytes"][name] = [row.astype(dtype).tobytes().hex() for row in rows]
# KIVI's groups, from its definition (arXiv 2402.02750, section 3): what a row is after decoding.
result["kivi"] = {}
for bits in (2, 4, 8):
    groups = rows.reshape(6, 4, 16)
    least, most = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
    scale = (most - least) / np.float32(2**bits - 1)
    quants = np.round((groups - least) / np.where(scale > 0, scale, 1))
    stored = [x.astype(np.float16).astype(np.float32) for x in (scale, least)]
    decoded = (quants.astype(np.float32) * stored[0] + stored[1]).reshape(6, 64)
    result["kivi"][str(bits)] = [[float(x) for x in row] for row in decoded]
print(json.dumps(result, indent=0))
