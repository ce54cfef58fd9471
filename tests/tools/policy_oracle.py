#!/usr/bin/env python3
"""Token-by-token oracle of cache policies that look at content, in float64, with numpy alone.

    policy_oracle.py MODEL IDS.json POLICIES.json OUT.json    compute
    policy_oracle.py --check MODEL IDS.json GOLDENS.json      compute again and compare
    policy_oracle.py --test                                   the worked examples of the rules

MODEL: a folder of model_type llama or qwen2 with plain rotary positions and full attention (config.json,
*.safetensors in F32, F16 or BF16). POLICIES: a list of objects, see COMMON and OWN for the parameters and
their defaults; "nll" and "evicted" in it are ignored, so an earlier OUT will do. OUT: the same list, each
with
  nll      nats, token i+1 given what the policy keeps of 0..i; length n-1
  evicted  [layer][kv head]: the places evicted, in the order of the rounds, ascending in each round

Order of events: feed token t; in each layer the query sees the kept earlier entries and itself; then the
statistics take in the weights that it gave, its own included; then, where (t + 1) % every == 0, the entries
beyond the capacity are evicted: lowest (score, place) first, the score rounded to float32, so that among
equal scores the older goes. The first `sinks` places and the last `recent` entries are protected and count in
the capacity. The protection comes after the scores: protected entries take part in all sums and means over
the entries. An entry's `seen` is t + 1 - place, the number of queries that saw it.

positions, as the place at which a key and its query are rotated:
  cache     the rank among the kept entries of its head; the query at their number
  original  the place in the stream
  frozen    the number of entries that the head kept when the token came, for its key (for ever) and its query
  capped    the distance is min(t - place, cap)
scope head: each KV head for itself, by the mean (reduce: or max) of its group's weights. scope layer (default
of tova and openvino): all heads keep the same tokens, by the mean of the weights of all query heads.

Budgets, one of:
  capacity           entries of each head
  capacity_by_layer  [C of each layer]
  capacity_by_head   [[C of each KV head] of each layer]; scope head only
  capacity + pyramid {beta}   a line from the first layer down to the last
  capacity + adaptive {floor} heads share the entries of their layer by score, at every round; scope head only

Layers are gone through one after the other, each for all tokens that are fed, ids 0 .. n-2. This gives what
all layers for each token in turn would: what a layer keeps hangs on its own queries, keys and values alone.

Two are upper bounds, which have what no cache of their size can have:
  oracle  sees queries before they come. At a round the next `ahead` tokens, or those that are left, come to a
          copy of the layer's entries that evicts nothing; the score of an entry is the sum of the weights
          that they give it. No tokens left: all scores are 0, and the older go.
  quest   evicts nothing and takes none of the parameters above. Page i is the `page` entries from i * page
          on. Its bound for a query is the sum over the dimensions of max(q * least, q * largest), of its
          rotated keys. Each query head reads the page that its own token is in and those of the largest
          bounds (of equal ones the older), max(3, read // page) in all; layers before `dense` read all.
"""
import copy, functools, glob, json, math, struct, sys
import numpy as np

COMMON = dict(policy=None, capacity=32, sinks=0, recent=0, every=1, positions="cache", cap=None,
              capacity_by_layer=None, capacity_by_head=None, pyramid=None, adaptive=None)
GROUP = dict(reduce="mean", scope="head")                  # of policies that score by weights
OWN = dict(                                                # each policy's own parameters
    window={}, sinks={}, knorm={}, keydiff={},
    random=dict(score="fresh", seed=0),
    h2o=dict(score="sum", half_life=None, values="none", **GROUP),
    tova=dict(values="none", reduce="mean", scope="layer"),
    snapkv=dict(rows=8, pool=1, pooling="average", values="none", **GROUP),
    roco=dict(ratio=.3, values="none", **GROUP),
    scissorhands=dict(window=400, values="none", **GROUP),  # window 0: all queries
    morphkv=dict(rows=32, fusion="max", values="none", **GROUP),
    rkv={"rows": 8, "pool": 7, "lambda": .07, "threshold": .5, "reduce": "mean"},
    lagkv=dict(lag=128, score="rank"),
    expected_attention=dict(future=512, moments="covariance", epsilon=0.0),
    openvino=dict(score="mean", pool=7, reduce="mean", scope="layer"),
    oracle=dict(ahead=128, values="none", **GROUP),
    quest=dict(read=None, page=16, dense=2))
CHOICES = dict(
    positions=("cache", "original", "frozen", "capped"), reduce=("mean", "max"), scope=("head", "layer"),
    pooling=("average", "max"), values=("none", "norm", "caote", "fast_caote"), fusion=("max", "sum"),
    moments=("covariance", "mean"))
SCORES = dict(h2o=("sum", "mean", "ema"), random=("fresh", "reservoir"), lagkv=("rank", "share"),
              openvino=("mean", "sum"))
BUDGETS = ("capacity_by_layer", "capacity_by_head", "pyramid", "adaptive")


def checked(policy, layers=1, kv_heads=1):
    """The policy with its defaults and `budget`, [layer][kv head]; what has no meaning is refused."""
    given = {k: v for k, v in policy.items() if k not in ("nll", "evicted", "log")}
    kind = given.get("policy")

    def refuse(bad, why):
        if bad:
            raise SystemExit(f"{given}: {why}")
    refuse(kind not in OWN, "policy")
    refuse(set(given) - set(COMMON) - set(OWN[kind]),
           f"unknown {sorted(set(given) - set(COMMON) - set(OWN[kind]))}")
    p = {**COMMON, **OWN[kind], **given}
    for name, choices in {**CHOICES, "score": SCORES.get(kind)}.items():
        refuse(name in p and p[name] not in choices, name)
    if kind in ("snapkv", "morphkv", "rkv"):
        p["recent"] = max(p["recent"], p["rows"])
    layer_scope = p.get("scope") == "layer"
    whole = p["sinks"] + p["recent"]
    refuse((p["positions"] == "capped") != (p["cap"] is not None), "cap goes with positions: capped")
    refuse((p.get("score") == "ema") != (p.get("half_life") is not None), "half_life goes with score: ema")
    refuse("reduce" in given and layer_scope, "reduce is for scope: head")
    refuse(kind in ("snapkv", "rkv") and p["pool"] % 2 == 0, "pool is odd")
    refuse(sum(p[b] is not None for b in BUDGETS) > 1, "more than one of " + ", ".join(BUDGETS))
    refuse(given.get("capacity") and (p["capacity_by_layer"] or p["capacity_by_head"]), "two capacities")
    refuse((p["capacity_by_head"] or p["adaptive"]) and layer_scope, "heads differ: scope: head")
    refuse(p["adaptive"] and kind in ("roco", "openvino"), "adaptive has no meaning here")
    refuse(p.get("ahead", 1) < 1, "ahead is 1 or more")
    if kind == "quest":
        refuse(set(given) & set(COMMON) != {"policy"}, "quest evicts nothing: read, page and dense alone")
        refuse(not p["read"] or min(p["read"], p["page"]) < 1 or p["dense"] < 0, "read, page, dense")
        p["capacity"] = math.inf

    by_layer = p["capacity_by_layer"] or [p["capacity"]] * layers
    if p["pyramid"]:
        by_layer = pyramid(p["capacity"], whole, p["pyramid"]["beta"], layers)
    p["budget"] = p["capacity_by_head"] or [[c] * kv_heads for c in by_layer]
    refuse([len(b) for b in p["budget"]] != [kv_heads] * layers, "the budget is not [layers][kv heads]")
    refuse(whole > min(map(min, p["budget"])), "sinks + recent exceed the capacity")
    if kind == "openvino":
        sizes = [p["sinks"], p["recent"]] + [c for b in p["budget"] for c in b]
        refuse(any(size % p["every"] for size in sizes), "sizes are multiples of `every`, the block")
    return p


# ---- budgets

def pyramid(capacity, protected, beta, layers):
    """Capacities that fall linearly from the first layer to the last; all divisions are of integers."""
    base = capacity - protected
    low = base // beta
    high = 2 * base - low
    step = (high - low) // (layers - 1) if layers > 1 else 0
    return [high - layer * step + protected for layer in range(layers)] if layers > 1 else [capacity]


def adaptive(scores, places, base, floor, protected):
    """Each head's capacity, from the scores and places of the unprotected entries of all heads."""
    head = np.concatenate([np.full(len(s), h) for h, s in enumerate(scores)])
    order = np.lexsort((head, np.concatenate(places), np.concatenate(scores)))
    top = head[order[max(0, len(order) - len(scores) * base):]]
    # round() takes halves to the even number, as torch.round of the published code.
    return [round(float(np.sum(top == h) * (1 - floor) + math.floor(base * floor))) + protected
            for h in range(len(scores))]


# ---- pseudo-random numbers

MASK = (1 << 64) - 1


def mix(x):
    """SplitMix64: the golden-ratio increment and the finaliser."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def draw(seed, layer, head, place, round_):
    """In [0, 1): the top 53 bits of mix folded over the five numbers. round_ = 0 for the reservoir."""
    x = mix(seed)
    for v in (layer, head, place, round_):
        x = mix(x ^ v)
    return (x >> 11) / float(1 << 53)


# ---- the entries of a head

def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def forward_max(row, width):
    """Value i is the largest of row[i .. i + width - 1], cut at the end."""
    return np.array([row[i:i + width].max() for i in range(len(row))])


class Head:
    """The kept entries of one layer and KV head, ascending in place. In every array the entry comes first."""
    FIELDS = ("place", "frozen", "key", "value", "sum", "square", "last", "rows")

    def __init__(self, dim, width):
        """width: how many of the last queries have their rows kept."""
        self.place, self.frozen = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.key, self.value = np.zeros((0, dim)), np.zeros((0, dim))
        self.sum, self.square, self.last = np.zeros(0), np.zeros(0), np.zeros(0)
        self.rows = np.zeros((0, width))                   # zero before the entry came

    def append(self, place, key, value):
        new = dict(place=place, frozen=len(self.place), key=key, value=value)
        for f in self.FIELDS:
            old = getattr(self, f)
            setattr(self, f, np.append(old, np.full((1,) + old.shape[1:], new.get(f, 0), old.dtype), 0))

    def keep(self, index):
        for f in self.FIELDS:
            setattr(self, f, getattr(self, f)[index])

    def observe(self, p, row):
        """Takes in the weights of the query of the last entry."""
        decay = 2.0 ** (-1.0 / p["half_life"]) if p.get("half_life") else 1.0
        self.sum = self.sum * decay + (forward_max(row, p["pool"]) if p["policy"] == "openvino" else row)
        self.square = self.square + row * row
        self.last = row
        if p["policy"] == "scissorhands":
            row = np.float32(row) >= np.float32(1 / len(row))
        if self.rows.shape[1]:
            self.rows = np.column_stack((self.rows[:, 1:], row))

    def protected(self, p):
        return (self.place < p["sinks"]) | (np.arange(len(self.place)) >= len(self.place) - p["recent"])

    def rotation_places(self, p, t):
        """The places at which the keys are rotated; the last one is the query's too."""
        return {"cache": np.arange(len(self.place)), "original": self.place, "frozen": self.frozen,
                "capped": t - np.minimum(t - self.place, p["cap"] or 0)}[p["positions"]]


# ---- scores: each gives one number for each entry; the lowest go

class Round:
    """What a score may look at: one head's entries when a round comes."""
    def __init__(self, p, heads, index, t, layer, capacity, rotate, piece=None):
        self.p, self.heads, self.index, self.e = p, heads, index, heads[index]
        self.t, self.layer, self.capacity, self.rotate = t, layer, capacity, rotate
        self.piece = piece                                 # (q, k, v), unrotated, of past and coming tokens
        self.n = len(self.e.place)
        self.seen = t + 1 - self.e.place

    def stream_keys(self):
        """The keys rotated at their places in the stream."""
        return self.rotate(self.e.key, self.e.place)

    def queries(self):
        """Those of the group so far, unrotated: [query head, t + 1, dim]."""
        q = np.stack([q for q, _, _ in self.piece[:self.t + 1]], 1)
        return np.split(q, len(self.heads))[self.index]


def index_score(r):
    return r.e.place.astype(np.float64)


def random_score(r):
    round_ = 0 if r.p["score"] == "reservoir" else r.t + 1
    return np.array([draw(r.p["seed"], r.layer, r.index, int(x), round_) for x in r.e.place])


def knorm(r):
    return -np.linalg.norm(r.e.key, axis=-1)


def keydiff(r):
    k = r.stream_keys()
    unit = k / np.linalg.norm(k, axis=-1, keepdims=True)
    anchor = unit.mean(0)
    return -(unit * anchor).sum(-1) / np.linalg.norm(anchor)


def h2o(r):
    return r.e.sum / r.seen if r.p["score"] == "mean" else r.e.sum


def tova(r):
    return r.e.last


def snapkv(r):
    old = r.n - r.p["rows"]
    k, average = r.p["pool"], r.p["pooling"] == "average"
    a = np.pad(r.e.rows[:old].mean(1), k // 2, constant_values=0.0 if average else -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(a, k) if old > 0 else np.zeros((0, k))
    out = np.full(r.n, np.inf)
    out[:max(old, 0)] = windows.sum(1) / k if average else windows.max(1, initial=-np.inf)
    return out


def roco(r):
    mean = r.e.sum / r.seen
    deviation = np.sqrt(np.maximum(0, r.e.square / r.seen - mean * mean)).astype(np.float32)
    free = np.flatnonzero(~r.e.protected(r.p))
    count = max(r.capacity - math.floor(r.p["ratio"] * r.capacity), r.n - r.capacity)
    candidates = free[np.argsort(deviation[free], kind="stable")][:count]
    out = np.full(r.n, np.inf)
    out[candidates] = mean[candidates]
    return out


def scissorhands(r):
    return r.e.rows.sum(1)                                 # the rows are bits here


def shares_of_old(r):
    """[old entries, rows]: each row over its sum over the old entries; rows of sum 0 are left out."""
    rows = r.e.rows[:max(0, r.n - r.p["rows"])]
    total = rows.sum(0)
    return rows[:, total > 0] / total[total > 0]


def morphkv(r):
    shares = shares_of_old(r)
    out = np.full(r.n, np.inf)
    out[:len(shares)] = shares.sum(1) if r.p["fusion"] == "sum" else shares.max(1, initial=0.0)
    return out


def redundancy(keys, threshold):
    unit = keys / (np.linalg.norm(keys, axis=-1, keepdims=True) + 1e-8)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, 0)
    for row in cosine:
        above = np.flatnonzero(row > threshold)
        row[above[-1] if len(above) else 0] = 0
    return softmax(cosine.mean(0))


def rkv(r):
    shares = shares_of_old(r)
    count, half = len(shares), r.p["pool"] // 2
    importance = shares.sum(1) / r.p["rows"]
    pooled = np.array([importance[max(0, i - half):i + half + 1].max() for i in range(count)])
    repeated = redundancy(r.stream_keys(), r.p["threshold"])
    out = np.full(r.n, np.inf)
    out[:count] = r.p["lambda"] * pooled - (1 - r.p["lambda"]) * repeated[:count]
    return out


def lag_shares(part, reference):
    """Shares of the entries of a partition by their spread over the dimensions, seen from the next one."""
    low, high = reference.min(0), reference.max(0)
    flat = high == low
    normal = np.where(flat, 0.0, (part - low) / np.where(flat, 1.0, high - low))
    return softmax(normal.std(-1, ddof=1))


def lagkv(r):
    lag, first = r.p["lag"], int(np.sum(r.e.place < r.p["sinks"]))
    full = (r.n - first) // lag
    out = np.ones(r.n)
    if full < 2:
        out[first:] = np.arange(r.n - first) / (r.n - first)
        return out
    keys, values = r.stream_keys(), r.e.value
    for i in range(full - 1):
        a = slice(first + i * lag, first + (i + 1) * lag)
        b = slice(first + (i + 1) * lag, first + (i + 2) * lag)
        share = (lag_shares(keys[a], keys[b]) + lag_shares(values[a], values[b])) / 2
        if r.p["score"] == "rank":
            order = np.argsort(share.astype(np.float32), kind="stable")
            share = np.empty(lag)
            share[order] = np.arange(lag) / lag
        out[a] = share
    return out


@functools.lru_cache(maxsize=4)
def mean_rotation(rotate, dim, first, count):
    """The mean of the rotation matrices of the places first .. first + count - 1."""
    return np.mean([rotate(np.eye(dim), np.full(dim, place)).T for place in range(first, first + count)], 0)


def expected_shares(keys, mean, covariance):
    """Expected weights on the keys of a query of this mean and covariance; None: of the mean alone."""
    dim = keys.shape[1]
    logits = keys @ mean / math.sqrt(dim)
    if covariance is not None:
        logits = logits + np.einsum("ni,ij,nj->n", keys, covariance, keys) / (2 * dim)
    return softmax(logits)


def expected_attention(r):
    dim, sink = r.e.key.shape[1], r.e.place < r.p["sinks"]
    turn = mean_rotation(r.rotate, dim, r.t + 1, r.p["future"])
    keys, shares = r.stream_keys()[~sink], []
    for queries in r.queries():
        q = queries[r.p["sinks"]:]
        mean, covariance = q.mean(0), None
        if r.p["moments"] == "covariance":
            covariance = turn @ (q.T @ q / len(q) - np.outer(mean, mean)) @ turn.T
        shares.append(expected_shares(keys, turn @ mean, covariance))
    out = np.full(r.n, np.inf)
    out[~sink] = (np.mean(shares, 0) + r.p["epsilon"]) * np.linalg.norm(r.e.value[~sink], axis=-1)
    return out


def openvino(r):
    token = r.e.sum / r.seen if r.p["score"] == "mean" else r.e.sum
    block = r.p["every"]
    return np.repeat(token.reshape(-1, block).sum(1), block)


def oracle(r):
    heads, out = [copy.copy(e) for e in r.heads], np.zeros(r.n)
    for t in range(r.t + 1, min(r.t + 1 + r.p["ahead"], len(r.piece))):
        row = reduced(r.p, come(r.p, heads, t, r.layer, r.rotate, r.piece)[1])[r.index]
        out += row[:r.n]
    return out


POLICIES = dict(window=index_score, sinks=index_score, random=random_score, knorm=knorm, keydiff=keydiff,
                h2o=h2o, tova=tova, snapkv=snapkv, roco=roco, scissorhands=scissorhands, morphkv=morphkv,
                rkv=rkv, lagkv=lagkv, expected_attention=expected_attention, openvino=openvino, oracle=oracle)


def by_values(kind, score, value):
    """The scores changed by what the values are worth; entries of infinite score stay as they are."""
    if kind == "none":
        return score
    finite = np.isfinite(score)
    s, v, out = score[finite], value[finite], score.copy()
    if kind == "norm":
        out[finite] = s * np.linalg.norm(v, axis=-1)
        return out
    p = s / s.sum() if s.sum() else np.zeros(len(s))
    centre = p @ v if kind == "caote" else v.mean(0)
    one = p >= 1
    odds = p / np.where(one, 1.0, 1 - p)
    out[finite] = np.where(one, np.inf, odds * np.linalg.norm(centre - v, axis=-1))
    return out


def scores(r):
    """The scores of a head's entries, rounded to float32."""
    out = POLICIES[r.p["policy"]](r)
    layer = r.p.get("scope") == "layer"
    value = np.concatenate([h.value for h in r.heads], 1) if layer else r.e.value
    out = by_values(r.p.get("values", "none"), out, value).astype(np.float32)
    assert not np.isnan(out).any(), r.p
    return out


def evict(p, heads, t, layer, rotate, piece=None):
    """The round of a layer after token t, if one is due; gives the places that each head evicts."""
    budget, out = p["budget"][layer], [[] for _ in heads]
    if (t + 1) % p["every"]:
        return out
    count = [len(e.place) for e in heads]
    if p["adaptive"]:
        due = [sum(count) > sum(budget)] * len(heads)
    else:
        due = [n > c for n, c in zip(count, budget)]
    rounds = [Round(p, heads, i, t, layer, budget[i], rotate, piece) for i in range(len(heads))]
    score = [scores(r) if d else None for r, d in zip(rounds, due)]
    if p["adaptive"] and due[0]:
        free = [~e.protected(p) for e in heads]
        whole = p["sinks"] + p["recent"]
        budget = adaptive([s[f] for s, f in zip(score, free)], [e.place[f] for e, f in zip(heads, free)],
                          budget[0] - whole, p["adaptive"]["floor"], whole)
    for i, e in enumerate(heads):
        if due[i] and count[i] > budget[i]:
            order = np.lexsort((e.place, score[i], e.protected(p)))
            out[i] = sorted(int(x) for x in e.place[order[:count[i] - budget[i]]])
            e.keep(np.sort(order[count[i] - budget[i]:]))
    return out


def rows_kept(p, length):
    """How many of the last queries a head keeps the rows of."""
    return (p["window"] or length) if p["policy"] == "scissorhands" else p.get("rows", 0)


# ---- the attention of a layer

def bounds(query, keys, page):
    """[query head, page]: no product of the query with a key of the page is above. Of whole pages."""
    pages = keys[:len(keys) // page * page].reshape(-1, page, keys.shape[1])
    query = query[:, None]
    return np.maximum(query * pages.min(1), query * pages.max(1)).sum(-1)


def read_by(p, query, keys):
    """[query head, entry]: what quest reads."""
    page = np.arange(len(keys)) // p["page"]
    own, count = page[-1], max(3, p["read"] // p["page"]) - 1
    best = np.argsort(-bounds(query, keys, p["page"])[:, :own], kind="stable")[:, :count]
    read = np.zeros((len(query), own + 1), bool)
    np.put_along_axis(read, best, True, 1)
    read[:, own] = True
    return read[:, page]


def come(p, heads, t, layer, rotate, piece):
    """Token t comes: the outputs [query heads, dim] and the weights, [group, n] for each KV head."""
    q, k, v = piece[t]
    out, weights = [], []
    for e, query, key, value in zip(heads, np.split(q, len(heads)), k, v):
        e.append(t, key, value)
        where = e.rotation_places(p, t)
        query, keys = rotate(query, np.full(len(query), where[-1])), rotate(e.key, where)
        logits = query @ keys.T / math.sqrt(len(key))
        if p["policy"] == "quest" and layer >= p["dense"]:
            logits = np.where(read_by(p, query, keys), logits, -np.inf)
        weights.append(softmax(logits))
        out.append(weights[-1] @ e.value)
    return np.concatenate(out), weights


def reduced(p, weights):
    """One row of weights for each KV head."""
    if p.get("scope") == "layer":
        return [np.concatenate(weights).mean(0)] * len(weights)
    return [w.max(0) if p.get("reduce") == "max" else w.mean(0) for w in weights]


def scan(p, layer, piece, rotate):
    """All tokens of a piece, [(q, k, v)]: their outputs, and the places that each head evicts."""
    heads = [Head(len(key), rows_kept(p, len(piece))) for key in piece[0][1]]
    outputs, evicted = [], [[] for _ in heads]
    for t in range(len(piece)):
        out, weights = come(p, heads, t, layer, rotate, piece)
        outputs.append(out)
        for e, row in zip(heads, reduced(p, weights)):
            e.observe(p, row)
        for log, gone in zip(evicted, evict(p, heads, t, layer, rotate, piece)):
            log += gone
    return outputs, evicted


# ---- the model

def read_safetensors(folder):
    out = {}
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        raw = open(path, "rb").read()
        n = struct.unpack("<Q", raw[:8])[0]
        for name, t in json.loads(raw[8:8 + n]).items():
            if name == "__metadata__":
                continue
            a, b = t["data_offsets"]
            data = raw[8 + n + a:8 + n + b]
            if t["dtype"] == "BF16":
                x = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                x = np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[t["dtype"]])
            out[name] = x.astype(np.float64).reshape(t["shape"])
    return out


class Model:
    def __init__(self, folder):
        c = json.load(open(folder + "/config.json"))
        scaling = c.get("rope_scaling") or c.get("rope_parameters") or {}
        assert c["model_type"] in ("llama", "qwen2"), c["model_type"]
        assert scaling.get("rope_type", scaling.get("type", "default")) == "default", "scaled positions"
        assert not c.get("use_sliding_window"), "a sliding window"
        self.layers, self.heads = c["num_hidden_layers"], c["num_attention_heads"]
        self.kv = c.get("num_key_value_heads") or self.heads
        self.group = self.heads // self.kv
        self.dim = c.get("head_dim") or c["hidden_size"] // self.heads
        self.eps = c["rms_norm_eps"]
        theta = (c.get("rope_parameters") or {}).get("rope_theta") or c.get("rope_theta", 10000.0)
        self.frequency = 1.0 / theta ** (np.arange(0, self.dim, 2) / self.dim)
        self.w = read_safetensors(folder)
        self.embedding = self.w["model.embed_tokens.weight"]
        self.head = self.embedding if c.get("tie_word_embeddings") else self.w["lm_head.weight"]

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) * self.w[name]

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def rotate(self, x, place):
        """x [n, dim] at places [n]: the halves are the pairs."""
        a = np.multiply.outer(np.asarray(place, np.float64), self.frequency)
        c, s, h = np.cos(a), np.sin(a), self.dim // 2
        return np.concatenate((x[:, :h] * c - x[:, h:] * s, x[:, h:] * c + x[:, :h] * s), -1)

    def mlp(self, x, name):
        a = self.linear(x, name + "gate_proj")
        return self.linear(a / (1 + np.exp(-a)) * self.linear(x, name + "up_proj"), name + "down_proj")


def run(m, ids, policy):
    p = checked(policy, m.layers, m.kv)
    xs, evicted, nll = list(m.embedding[ids[:-1]]), [], []
    for l in range(m.layers):
        name = f"model.layers.{l}."
        normed = [m.norm(x, name + "input_layernorm.weight") for x in xs]
        heads = lambda h, c: m.linear(h, name + f"self_attn.{c}_proj").reshape(-1, m.dim)
        outputs, gone = scan(p, l, [[heads(h, c) for c in "qkv"] for h in normed], m.rotate)
        evicted.append(gone)
        xs = [x + m.linear(out.reshape(-1), name + "self_attn.o_proj") for x, out in zip(xs, outputs)]
        xs = [x + m.mlp(m.norm(x, name + "post_attention_layernorm.weight"), name + "mlp.") for x in xs]
    for x, coming in zip(xs, ids[1:]):
        logits = m.head @ m.norm(x, "model.norm.weight")
        top = logits.max()
        nll.append(float(top + math.log(np.exp(logits - top).sum()) - logits[coming]))
    return nll, evicted


# ---- the worked examples of the rules

AFFINITY = [[1], [3, 1], [2, 1, 1], [4, 1, 3, 2], [2, 2, 5, 1, 2]]      # exp of the logits of query t
VALUE = [1., -1., 0., 2., 0.]
KEY = [(3., 4.), (0., 1.), (1., 1.), (2., 0.), (0., 0.)]


def same(x, place):
    return x


def example(last, **policy):
    """Feeds the example's tokens 0 .. last; what each round evicts, and the scores before the last round."""
    p = checked(dict(dict(capacity=3), **policy))
    e, gone, score = Head(2, rows_kept(p, 5)), [], None
    for t in range(last + 1):
        e.append(t, np.array(KEY[t]), np.array([VALUE[t], 0.]))
        row = np.array([AFFINITY[t][j] for j in e.place], np.float64)
        e.observe(p, row / row.sum())
        score = scores(Round(p, [e], 0, t, 0, p["budget"][0][0], same)) if t == last else None
        gone += evict(p, [e], t, 0, same)[0]
    return gone, score, e


def close(a, b, within=5e-5):
    assert np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=0, atol=within), (a, b)


def test():
    # What the example evicts after token 3, and after token 4 where the rules say.
    table = [
        ([0, 1], dict(policy="window")), ([1, 3], dict(policy="tova")),
        ([2, 3], dict(policy="h2o", recent=1)), ([3], dict(policy="h2o")),
        ([1], dict(policy="h2o", score="mean", recent=1)), ([1], dict(policy="scissorhands", recent=1)),
        ([1], dict(policy="roco", recent=1)), ([1], dict(policy="snapkv", rows=2)),
        ([0], dict(policy="snapkv", rows=2, pool=3)), ([1], dict(policy="morphkv", rows=2)),
        ([1], dict(policy="tova", values="caote")), ([1], dict(policy="tova", values="fast_caote")),
        ([2], dict(policy="h2o", recent=1, values="norm")), ([0], dict(policy="knorm")),
        ([2], dict(policy="keydiff"))]
    for gone, policy in table:
        got = example(2 + len(gone), **policy)[0]
        assert got == gone, (policy, got, gone)
    scored = lambda **policy: example(3, **policy)[1]
    close(scored(policy="h2o"), [2.65, .6, .55, .2])
    close(scored(policy="h2o", score="mean"), [.6625, .2, .275, .2])
    close(scored(policy="tova"), [.4, .1, .3, .2])
    close(scored(policy="scissorhands"), [4, 0, 1, 0])
    close(scored(policy="scissorhands", window=0), [4, 0, 1, 0])
    close(scored(policy="scissorhands", window=2), [2, 0, 1, 0])
    close(scored(policy="snapkv", rows=2), [.45, .175, np.inf, np.inf])
    close(scored(policy="snapkv", rows=2, pool=3), [.625 / 3, .625 / 3, np.inf, np.inf])
    close(scored(policy="snapkv", rows=2, pool=3, pooling="max"), [.45, .45, np.inf, np.inf])
    close(scored(policy="morphkv", rows=2), [.8, 1 / 3, np.inf, np.inf])
    close(scored(policy="morphkv", rows=2, fusion="sum"), [.8 + 2 / 3, .2 + 1 / 3, np.inf, np.inf])
    close(scored(policy="tova", values="caote"), [.2, .188889, .3, .325])
    close(scored(policy="tova", values="fast_caote"), [.3333, .1667, .2143, .375])
    close(scored(policy="h2o", values="norm"), [2.65, .6, 0, .4])
    close(scored(policy="knorm"), [-5, -1, -1.4142, -2])
    close(scored(policy="keydiff"), [-.994966, -.735848, -.999138, -.677147], 1e-6)
    close(scored(policy="lagkv", sinks=1), [1, 0, 1 / 3, 2 / 3])

    # RoCo: deviations .23285 .07071 .025 0; one candidate less for each unit of floor(ratio * capacity).
    close(scored(policy="roco", recent=1, ratio=.34), [np.inf, .2, .275, np.inf])
    close(scored(policy="roco", ratio=.34), [np.inf, np.inf, .275, .2])
    close(scored(policy="roco", recent=1, ratio=0.), [.6625, .2, .275, np.inf])

    # CAOTE is the change of the output when one entry is dropped; a weight of 1 is infinite.
    w, v = np.array([.4, .1, .3, .2]), np.array(VALUE[:4])
    change = [abs(np.delete(w, j) @ np.delete(v, j) / (1 - w[j]) - w @ v) for j in range(4)]
    close(by_values("caote", w, v[:, None]), change, 1e-12)
    close(by_values("caote", np.array([1., 0., np.inf]), np.ones((3, 1))), [np.inf, 0, np.inf])
    close(by_values("fast_caote", np.zeros(3), v[:3, None]), [0, 0, 0])

    # PyramidKV
    assert pyramid(64, 8, 20, 4) == [118, 82, 46, 10]
    # Ada-KV: the rounding, then the counts.
    for base, counts, floor, result in ((2, (3, 1), .2, [2, 1]), (20, (30, 10), .2, [28, 12]), (2, (3, 1), .5, [2, 2])):
        total = 3 * base
        s = [np.float32(np.arange(total) < c) for c in counts]
        assert adaptive(s, [np.arange(total)] * 2, base, floor, 0) == result
        assert adaptive(s, [np.arange(total)] * 2, base, floor, 5) == [x + 5 for x in result]
    s = [np.float32([.5, .3, .15, .05]), np.float32([.9, .05, .03, .02])]
    assert adaptive(s, [np.arange(4)] * 2, 2, 0, 0) == [3, 1]

    # Random: the first number of SplitMix64 from state 0; a draw depends on each of its arguments.
    assert mix(0) == 0xE220A8397B1DCDAF
    assert len({draw(*(int(i == j) for i in range(5))) for j in range(6)}) == 6
    # A reservoir keeps each token with the probability capacity / stream.
    higher = [sum(draw(seed, 0, 0, j, 0) > draw(seed, 0, 0, 7, 0) for j in range(20)) for seed in range(1000)]
    assert abs(sum(x < 5 for x in higher) / 1000 - 5 / 20) < .05

    # Expected attention, one dimension: logits 0 and 1 + 2. A quarter turn and none: half of each.
    close(expected_shares(np.array([[0.], [1.]]), np.ones(1), np.full((1, 1), 4.)), [.047426, .952574], 1e-6)
    close(expected_shares(np.array([[0.], [1.]]), np.ones(1), None), [1 / (1 + math.e), 1 / (1 + 1 / math.e)])
    quarter = lambda x, place: np.stack([a @ [[0, 1], [-1, 0]] if b % 2 else a for a, b in zip(x, place)])
    close(mean_rotation(quarter, 2, 4, 2), [[.5, -.5], [.5, .5]])

    # R-KV: three equal keys.
    close(redundancy(np.ones((3, 4)), .5), [.4484, .3213, .2302])
    close(softmax(np.array([2 / 3, 1 / 3, 0])), redundancy(np.ones((3, 4)), .5), 1e-7)
    # LagKV: two entries, seen from (0,0) and (4,4); a flat dimension gives 0.
    close(lag_shares(np.array([[1., 3], [3, 3]]), np.array([[0., 0], [4, 4]])), [.587479, .412521], 1e-6)
    flat = lag_shares(np.array([[1., 3], [3, 3]]), np.array([[0., 7], [4, 7]]))
    close(flat, softmax(np.array([.25, .75]) / math.sqrt(2)), 1e-12)
    # OpenVINO: pooled forward; blocks of two.
    close(forward_max(np.array([.4, .1, .3, .2]), 2), [.4, .3, .3, .2])
    e = Head(1, 0)
    for place in range(4):
        e.append(place, 0., 0.)
    p = checked(dict(policy="openvino", capacity=2, every=2, pool=2, score="sum"))
    e.observe(p, np.array([.4, .1, .3, .2]))
    close(scores(Round(p, [e], 0, 3, 0, 2, same)), [.7, .7, .5, .5])
    assert evict(p, [e], 3, 0, same) == [[2, 3]]

    # Oracle: queries and keys that give the example's affinities; each round by the queries to come alone.
    unit, value = np.eye(5), np.pad(np.array(VALUE)[:, None], ((0, 0), (0, 4)))
    affinity = [np.array([a + [1] * (5 - len(a))]) for a in AFFINITY]
    piece = [(math.sqrt(5) * np.log(affinity[t]), unit[[t]], value[[t]]) for t in range(5)]
    gone = lambda **policy: scan(checked(dict(policy, policy="oracle")), 0, piece, same)[1][0]
    assert gone(capacity=3) == [3, 0] and gone(capacity=3, recent=1) == [0, 1]
    # After token 2: ahead 1 has 4/9 for 0 and 3/9 for 2; ahead 2 has 4/9 + 2/10 and 3/9 + 5/10.
    assert gone(capacity=1, ahead=1) == [1, 2, 3, 0] and gone(capacity=1, ahead=2) == [1, 0, 3, 2]
    p, heads = checked(dict(policy="oracle", capacity=2)), [Head(5, 0)]
    for t in range(3):
        come(p, heads, t, 0, same, piece)
    scored = lambda **policy: scores(Round({**p, **policy}, heads, 0, 2, 0, 2, same, piece))
    close(scored(), [.4 + 2 / 12, .1 + 2 / 12, .3 + 5 / 12])
    close(scored(ahead=1), [.4, .1, .3])
    close(scored(ahead=1, values="norm"), [.4, .1, 0])
    close(scored(ahead=1, values="caote"), [.625, 1.375 / 7, .225])
    # Entries 0, 2 and 3, and two tokens that come: where the second finds them and itself.
    for positions, cap, places in (("cache", None, [0, 1, 2, 3, 4]), ("original", None, [0, 2, 3, 4, 5]),
                                   ("frozen", None, [0, 2, 3, 3, 4]), ("capped", 2, [3, 3, 3, 4, 5])):
        p = checked(dict(policy="oracle", positions=positions, cap=cap))
        asked, heads, piece = [], [Head(1, 0)], [np.zeros((3, 1, 1))] * 6
        for t in range(4):
            come(p, heads, t, 0, same, piece)
        heads[0].keep([0, 2, 3])
        oracle(Round(p, heads, 0, 3, 0, 2, lambda x, place: asked.append(list(place)) or x, piece))
        assert asked[-2:] == [places[-1:], places] and len(heads[0].place) == 3, (positions, asked)

    # Quest: page 0 has a larger bound than page 1, though its keys have smaller products; page 3 is the own.
    query, keys = np.array([[1., -.5]]), np.array(KEY[:4] + [(9., 0.), (9., 0.), (0., 0.)])
    close(bounds(query, keys, 2), [[2.5, 2, 9]])
    close(query @ keys[:4].T, [[1, -.5, .5, 2]])

    def reads(query, read, page):
        p = checked(dict(policy="quest", read=read, page=page))
        return np.flatnonzero(read_by(p, query, keys)).tolist()
    for read in (1, 6, 7):                                 # three pages at the least; rounded down
        assert reads(query, read, 2) == [0, 1, 4, 5, 6]
    assert reads(query, 8, 2) == list(range(7))
    assert reads(0 * query, 6, 2) == [0, 1, 2, 3, 6]       # of equal bounds the older
    assert reads(query, 3, 1) == [4, 5, 6] and reads(query, 4, 1) == [3, 4, 5, 6]
    print("all examples hold")


def flat_log(log):
    """evicted as it is here, from a list of [t, layer, kv head, [places]] too."""
    if not log or not isinstance(log[0][0], int):
        return log
    out = [[[] for _ in range(1 + max(r[2] for r in log))] for _ in range(1 + max(r[1] for r in log))]
    for _, layer, head, places in log:
        out[layer][head] += places
    return out


def read_ids(path):
    ids = json.load(open(path))
    return ids if isinstance(ids, list) else ids["ids"]


def main(arguments):
    if arguments == ["--test"]:
        return test()
    check = arguments[0] == "--check"
    folder, ids, policies = arguments[check:check + 3]
    m, ids, results = Model(folder), read_ids(ids), []
    worst, different = 0.0, 0
    for policy in json.load(open(policies)):
        nll, evicted = run(m, ids, policy)
        given = {k: v for k, v in policy.items() if k not in ("nll", "evicted")}
        line = f"{json.dumps(given)} mean NLL {np.mean(nll):.6f}"
        if check:
            apart = float(np.max(np.abs(np.subtract(nll, policy["nll"]))))
            equal = flat_log(policy["evicted"]) == evicted
            worst, different = max(worst, apart), different + (not equal)
            line += f" apart {apart:.1e} evicted {'equal' if equal else 'DIFFERENT'}"
        results.append({**given, "nll": [round(x, 10) for x in nll], "evicted": evicted})
        print(line, flush=True)
    if check:
        print(f"largest difference {worst:.2e}, {different} logs differ")
        return int(different > 0 or worst > 1e-8)
    with open(arguments[3], "w") as f:
        f.write("[" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in results) + "]\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
