#!/usr/bin/env python3
"""Compare quantize with llama.cpp's quantizer, driven by ../shared/tools/peer.py.

usage: peer_quantize.py errors PEER QUANTIZE [SEED ...]    weights of many shapes: in no block of 256 may the root mean square
                                                           error be larger than ggml's, nor the one in ggml's own weights
       peer_quantize.py table PEER TEST_QUANT_ERRORS       ggml's errors for the weights of that test, which has them
                                                           in test/data/quant/errors.txt
       peer_quantize.py types PEER FOLDER ... >MIXES       the type that llama.cpp gives each tensor of the models in the
                                                           folders, and of some made up: test/data/mixes.txt
"""
import glob, os, re, runpy, struct, subprocess, sys, tempfile, ctypes
import numpy as np

MIXES = ["Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"]
LETTERS = {0: "-", 1: "h", 6: "a", 7: "b", 8: "8", 12: "4", 13: "5", 14: "6"}  # ggml's numbers of types
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of values of metadata

# ---- files ---------------------------------------------------------------------------------------

def read_gguf(path):
    """(metadata by key: numbers and texts as they are, others None; the same as type and bytes; tensors: name, ne,
    type, offset; data's offset)"""
    data = open(path, "rb").read()
    n_tensors, n_kv = struct.unpack_from("<QQ", data, 8)
    at = 24

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values

    def text():
        nonlocal at
        n, = take("Q")
        at += n
        return data[at - n:at].decode()

    def value(kind):
        nonlocal at
        if kind == 8: return text()
        if kind != 9:
            return take({0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}[kind])[0]
        element, n = take("IQ")
        if element == 8:
            for _ in range(n): text()
        else: at += n * SIZES[element]

    kv, raw = {}, {}
    for _ in range(n_kv):
        key, (kind,) = text(), take("I")
        begin = at
        kv[key] = value(kind)
        raw[key] = (kind, data[begin:at])
    tensors = []
    for _ in range(n_tensors):
        name, (n_dims,) = text(), take("I")
        tensors.append((name, take("%dQ" % n_dims)) + take("IQ"))
    alignment = kv.get("general.alignment", 32)
    return kv, raw, tensors, -(-at // alignment) * alignment

def text(s): return struct.pack("<Q", len(s)) + s.encode()
def number(n): return 4, struct.pack("<I", n)

def write_gguf(path, kv, tensors):
    """kv: key -> type and bytes; tensors: name -> array of float32, its shape slowest first"""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv))
    for key, (kind, value) in kv.items(): head += text(key) + struct.pack("<I", kind) + value
    offset = 0
    for name, x in tensors.items():
        head += text(name) + struct.pack("<I%dQ" % x.ndim, x.ndim, *x.shape[::-1]) + struct.pack("<IQ", 0, offset)
        offset += x.nbytes + -x.nbytes % 32
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % 32))
        for x in tensors.values(): f.write(x.tobytes() + bytes(-x.nbytes % 32))

def floats(path):
    """name -> float32 rows, of a file in F32"""
    _, _, tensors, start = read_gguf(path)
    return {name: np.fromfile(path, np.float32, int(np.prod(ne)), offset=start + offset).reshape(-1, ne[0])
            for name, ne, kind, offset in tensors}

# ---- the peer ------------------------------------------------------------------------------------

class Peer:
    def __init__(self, script):
        sys.argv = [script, "install"]  # which is all that it then does
        self.names = runpy.run_path(script)
        self.library = self.names["load"]()

    def quantize(self, source, target, mix):
        q = self.library.llama_model_quantize_default_params()
        q.ftype, q.allow_requantize, q.nthread = self.names["FTYPE"][mix], True, 1
        if self.library.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(q)):
            sys.exit("the peer cannot quantize %s to %s" % (source, mix))

# ---- types ---------------------------------------------------------------------------------------

def layers(numbers):
    """0,1,2,5 -> 0-2,5"""
    runs = []
    for n in numbers:
        if runs and runs[-1][1] == n - 1: runs[-1][1] = n
        else: runs.append([n, n])
    return ",".join(str(a) if a == b else "%d-%d" % (a, b) for a, b in runs)

ATTENTION = ["attn_q", "attn_k", "attn_v", "attn_output"]
DENSE = ATTENTION + ["ffn_gate", "ffn_up", "ffn_down"]
EXPERTS = ATTENTION + ["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]
ENDS = ["token_embd.weight", "output.weight"]
COPIED = """position_embd token_types v.position_embd blk.0.altup_x blk.0.laurel_l per_layer_model_proj blk.0.ssm_conv1d
    blk.0.shortconv.conv blk.0.indexer.k_proj blk.0.indexer.q_proj blk.0.ffn_gate_tid2eid blk.0.ffn_gate_inp
    blk.0.ffn_gate_inp_shexp blk.0.time_mix_first blk.0.time_mix_w0 blk.0.time_mix_w1 blk.0.time_mix_w2 blk.0.time_mix_v0
    blk.0.time_mix_v1 blk.0.time_mix_v2 blk.0.time_mix_a0 blk.0.time_mix_a1 blk.0.time_mix_a2 blk.0.time_mix_g1
    blk.0.time_mix_g2 blk.0.time_mix_decay_w1 blk.0.time_mix_decay_w2 blk.0.time_mix_lerp_fused blk.0.time_mix_lerp_k
    blk.0.attn_rel_b v.sam.pos_embd sam.neck.0 sam.net_1 v.blk.0.rel_pos_h v.patch_embd mm.patch_merger a.rvq.codebook
    mm.a.code_embd blk.0.exp_probs_b blk.0.ple_conv1d blk.0.indexer_compressor_kv blk.0.attn_norm token_types2
    xposition_embd per_layer_token_embd blk.0.attn_k_b blk.0.indexer.attn_k enc.blk.0.attn_v blk.0.x""".split()

# Rules that no golden model meets: name, the model whose metadata it has, layers, their tensors, the others, changed keys.
VARIANTS = [
    ("llama-of-80", "llama", 80, DENSE, ENDS, {"attention.head_count": 64, "attention.head_count_kv": 8}),
    ("llama-of-80-mha", "llama", 80, DENSE, ENDS, {"attention.head_count": 64, "attention.head_count_kv": 64}),
    ("llama-of-33-odd-rows", "llama", 33, DENSE, ENDS, {"row": 96}),
    ("qwen2-of-80", "qwen2", 80, DENSE, ENDS[:1], {}),
    ("deci-of-80", "deci", 80, DENSE, ENDS, {}),
    ("olmo-of-80", "olmo", 80, DENSE, ENDS[:1], {}),
    ("falcon-of-60", "falcon", 60, ["attn_qkv", "attn_output", "ffn_up", "ffn_down"], ENDS, {}),
    ("eight-experts", "mixtral", 32, EXPERTS, ENDS, {"expert_count": 8}),
    ("sixteen-experts", "mixtral", 32, EXPERTS + ["ffn_down_shexp"], ENDS, {"expert_count": 16}),
    ("every-name", "llama", 2, DENSE, ENDS + [name + ".weight" for name in COPIED], {}),
    ("no-output", "llama", 16, ["attn_qkv", "attn_kv_b", "attn_v", "ffn_down", "ffn_down_chexps"],
     [ENDS[0], "per_layer_token_embd.weight", "blk.3.attn_v.bias", "blk.3.ffn_down.bias"], {}),
]

def make_variant(source, path, n_layers, parts, others, changes):
    kv, raw, *_ = read_gguf(source)
    arch, row = kv["general.architecture"], changes.get("row", 256)
    raw = {key: value for key, value in raw.items() if not key.startswith(("tokenizer.", "general.alignment"))}
    for key, (kind, value) in raw.items():  # lists of a value for each layer
        if kind == 9 and struct.unpack_from("<Q", value, 4)[0] == kv[arch + ".block_count"]:
            element, n = struct.unpack_from("<IQ", value)
            raw[key] = kind, struct.pack("<IQ", element, n_layers) + (value[12:] * n_layers)[:n_layers * SIZES[element]]
    raw[arch + ".block_count"] = number(n_layers)
    for key, n in changes.items():
        if key != "row": raw[arch + "." + key] = number(n)
    names = others + ["blk.%d.%s.weight" % (i, part) for i in range(n_layers) for part in parts]
    shape = lambda name: (row,) if name.endswith("bias") else (2, 2, row) if "exps" in name else (2, row)
    write_gguf(path, raw, {name: np.zeros(shape(name), np.float32) for name in names})

def types_of(peer, path, title, tmp):
    whole = os.path.join(tmp, "whole.gguf")
    peer.quantize(path, whole, "F32")
    kv, _, tensors, _ = read_gguf(whole)
    words = {name: "" for name, *_ in tensors}
    for mix in MIXES:
        peer.quantize(whole, os.path.join(tmp, "out.gguf"), mix)
        for name, _, kind, _ in read_gguf(os.path.join(tmp, "out.gguf"))[2]: words[name] += LETTERS[kind]
    arch = kv["general.architecture"]
    print("=", title, arch, *(kv.get("%s.%s" % (arch, key)) or 0 for key in
                              ("block_count", "expert_count", "attention.head_count", "attention.head_count_kv")))
    lines = {}
    for name, ne, *_ in tensors:
        layer = re.match(r"blk\.(\d+)\.", name)
        n_dims = max([1] + [i + 1 for i, n in enumerate(ne) if n > 1])
        line = (name[layer.end():] if layer else name, ne[0], n_dims, words[name])
        lines.setdefault(line, []).append(int(layer[1]) if layer else -1)
    for line, numbers in lines.items(): print(*line, *([] if numbers == [-1] else [layers(sorted(numbers))]))

def print_types(peer, folders, tmp):
    print("# The types that llama.cpp v0.5.0 gives the tensors of small models; made by test/peer_quantize.py types.")
    print("# = NAME ARCHITECTURE LAYERS EXPERTS HEADS KV_HEADS, then for each tensor: its name, the length of its rows, its")
    print("# dimensions, a letter for each mix of %s, and the layers" % " ".join(MIXES))
    print("# it stands in (blk.N. before the name).")
    print("# - copied, h F16, a Q5_0, b Q5_1, 8 Q8_0, 4 Q4_K, 5 Q5_K, 6 Q6_K")
    models = {os.path.basename(path)[:-5]: path for folder in folders for path in sorted(glob.glob(folder + "/*.gguf"))}
    for name, path in models.items(): types_of(peer, path, name, tmp)
    for name, source, *what in VARIANTS:
        peer.quantize(models[source], os.path.join(tmp, "source.gguf"), "F32")
        make_variant(os.path.join(tmp, "source.gguf"), os.path.join(tmp, "variant.gguf"), *what)
        types_of(peer, os.path.join(tmp, "variant.gguf"), name, tmp)

# ---- errors --------------------------------------------------------------------------------------

def lattice(values):
    def make(r, shape): return (r.integers(0, values, shape) - (values - 1) / 2) * 0.013
    return make

def outliers(r, shape):
    x = r.normal(0, 0.02, shape)
    x.reshape(-1, 32)[np.arange(x.size // 32), r.integers(0, 32, x.size // 32)] *= 30
    return x

def one_not_zero(r, shape):
    x = np.zeros(shape)
    x.reshape(-1, 32)[:, 5] = r.normal(0, 0.02, x.size // 32)
    x.reshape(-1, 256)[::2, 32:] = 0
    return x

SHAPES = {
    "normal": lambda r, shape: r.normal(0, 0.02, shape),
    "laplace": lambda r, shape: r.laplace(0, 0.02, shape),
    "uniform": lambda r, shape: r.uniform(-0.04, 0.04, shape),
    "lattice2": lattice(2), "lattice3": lattice(3), "lattice4": lattice(4), "lattice8": lattice(8), "lattice16": lattice(16),
    "lattice16-up": lambda r, shape: r.integers(0, 16, shape) * r.uniform(0.001, 0.1),
    "lattice4-rows": lambda r, shape: r.integers(-2, 2, shape) * r.uniform(0.001, 0.1, (shape[0], 1)),
    "lattice3-noisy": lambda r, shape: r.integers(-1, 2, shape) * 0.013 + r.normal(0, 1e-4, shape),
    "outliers": outliers,
    "mixed": lambda r, shape: r.normal(0, 0.02, shape) * np.exp(r.normal(0, 2, (shape[0], shape[1] // 16))).repeat(16, 1),
    "constant": lambda r, shape: np.full(shape, r.normal(0, 0.02)),
    "constant-rows": lambda r, shape: np.zeros(shape) + r.normal(0, 0.02, (shape[0], 1)),
    "one-not-zero": one_not_zero,
    "above-zero": lambda r, shape: r.normal(0.1, 0.02, shape),
    "student": lambda r, shape: r.standard_t(3, shape) * 0.02,
    "tiny": lambda r, shape: r.normal(0, 1e-6, shape),
    "huge": lambda r, shape: r.normal(0, 1e4, shape),
}

def weights_of_ggml(x, kind):
    """How much the reference quantizer of the type counts an error of each weight."""
    if kind in (12, 13):
        blocks = x.reshape(-1, 32)
        return (np.sqrt((blocks ** 2).mean(1, keepdims=True)) + abs(blocks)).reshape(x.shape)
    return x ** 2 if kind == 14 else np.ones_like(x)

TYPE_NAMES = {6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K"}

def write_weights(path, tensors):
    kv = {"general.architecture": (8, text("llama")), "llama.attention.layer_norm_rms_epsilon": (6, struct.pack("<f", 1e-5))}
    for key in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"):
        kv["llama." + key] = number(1)
    write_gguf(path, kv, tensors)

def table_of_errors(peer, program, tmp):
    path = lambda name: os.path.join(tmp, name)
    names = subprocess.run([program, "write", path("weights")], check=True, capture_output=True, text=True).stdout.split("\n")
    names = [line.split() for line in names if line]
    weights = np.fromfile(path("weights"), np.float32).reshape(len(names), -1)
    tensors = {"%s.%d.weight" % (name, n): x.reshape(-1, n) for (name, row), x in zip(names, weights) for n in (int(row), 96)}
    write_weights(path("in.gguf"), tensors)
    print("# The errors of ggml's reference quantizers (llama.cpp v0.5.0); made by test/peer_quantize.py table.")
    print("# SHAPE.SEED TYPE, of each 256 weights the root mean square error and the same with the type's own weights")
    for mix in ("Q4_K_S", "Q5_K_S", "Q6_K"):
        peer.quantize(path("in.gguf"), path("out.gguf"), mix)
        peer.quantize(path("out.gguf"), path("f32.gguf"), "F32")
        kinds = {name: kind for name, _, kind, _ in read_gguf(path("out.gguf"))[2]}
        y = floats(path("f32.gguf"))
        for name, x in tensors.items():
            x = x.astype(float)
            errors = [np.sqrt((w * (y[name] - x) ** 2).reshape(-1, 256).mean(1))
                      for w in (np.ones_like(x), weights_of_ggml(x, kinds[name]))]
            print(name.rsplit(".", 2)[0], TYPE_NAMES[kinds[name]], *("%.6e" % e for pair in zip(*errors) for e in pair))

def compare_errors(peer, program, seeds, tmp):
    path = lambda name: os.path.join(tmp, name)
    tensors = {}
    for shape, make in SHAPES.items():
        for seed in seeds:
            x = make(np.random.default_rng([seed, list(SHAPES).index(shape)]), (32, 768)).astype(np.float32)
            for row in (768, 96):  # whole blocks of 256, and not
                tensors["%s.%d.%d.weight" % (shape, seed, row)] = x.reshape(-1, row)
    write_weights(path("in.gguf"), tensors)
    rows, failed = {}, 0
    for mix in ("Q4_K_S", "Q5_K_S", "Q6_K", "Q8_0"):
        peer.quantize(path("in.gguf"), path("theirs.gguf"), mix)
        subprocess.run([program, path("in.gguf"), path("ours.gguf"), mix], check=True, stdout=subprocess.DEVNULL)
        for who in ("ours", "theirs"): peer.quantize(path(who + ".gguf"), path(who + "-f32.gguf"), "F32")
        kinds = {name: kind for name, _, kind, _ in read_gguf(path("ours.gguf"))[2]}
        same = kinds == {name: kind for name, _, kind, _ in read_gguf(path("theirs.gguf"))[2]}
        if not same: sys.exit(mix + ": other types than the peer's")
        ours, theirs = floats(path("ours-f32.gguf")), floats(path("theirs-f32.gguf"))
        for name, x in tensors.items():
            x = x.astype(float)
            for k, w in enumerate((np.ones_like(x), weights_of_ggml(x, kinds[name]))):
                a, b = (np.sqrt((w * (y[name] - x) ** 2).reshape(-1, 256).sum(1)) for y in (ours, theirs))
                worse = (a > b * (1 + 1e-5)).sum()  # blocks
                a, b = (np.sqrt((e ** 2).sum()) for e in (a, b))
                ratio = a / b if b > 0 else 1.0 if a == 0 else np.inf
                key = (name.split(".")[0], TYPE_NAMES[kinds[name]])
                rows.setdefault(key, [0, 0])[k] = max(ratio, rows.get(key, [0, 0])[k])
                if worse:
                    failed += 1
                    print("%s: %.6f times the peer's%s error in %s, %d blocks are worse" %
                          (name, ratio, " weighted" if k else "", key[1], worse))
    types = ["Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q5_0", "Q5_1"]
    print("%-16s" % "largest ratios", *("%13s" % t for t in types))
    for shape in SHAPES:
        print("%-16s" % shape, *("%6.3f %6.3f" % tuple(rows[shape, t]) for t in types))
    print("%d comparisons, %d failed" % (len(tensors) * 8, failed))
    return failed > 0

def main():
    if len(sys.argv) < 4 or sys.argv[1] not in ("errors", "table", "types"): sys.exit(__doc__)
    verb, script, *rest = sys.argv[1:]
    peer = Peer(script)
    with tempfile.TemporaryDirectory() as tmp:
        if verb == "types": print_types(peer, rest, tmp)
        elif verb == "table": table_of_errors(peer, rest[0], tmp)
        else: sys.exit(compare_errors(peer, rest[0], [int(s) for s in rest[1:]] or [1, 2, 3], tmp))

main()
