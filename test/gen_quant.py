#!/usr/bin/env python3
"""What quant_grids.h and rows of test/data/quant are made of: ggml's own answers.

    test/gen_quant.py libggml-base.so

Writes quant_grids.h and test/data/quant/TYPE.blocks and .f32 for the types below. The repository
has them: `make` needs none of this. The library is a part of llama.cpp (v0.5.0 was used).

A block of an IQ2 or IQ3 type holds numbers of groups of 8 or 4 weights, which a table ("grid")
lists. The tables follow from no formula, but ggml's dequantizers tell them: with a scale of 1 and
no signs, a block of given numbers comes out as these groups.
"""
import ctypes as C, os, struct, sys
import numpy as np

N_ROWS = 64


class Traits(C.Structure):  # struct ggml_type_traits
    _fields_ = [("name", C.c_char_p), ("block_len", C.c_int64), ("interleave", C.c_int64),
                ("bytes", C.c_size_t), ("quantized", C.c_bool), ("to_float", C.c_void_p),
                ("from_float", C.c_void_p)]


class Type:
    def __init__(self, lib, number, name, n_numbers=0, numbers=None, values=None):
        t = lib.ggml_get_type_traits(number).contents
        self.name, self.len, self.bytes = name, t.block_len, t.bytes
        self.to_float = C.CFUNCTYPE(None, C.c_char_p, C.c_void_p, C.c_int64)(t.to_float)
        self.n_numbers = n_numbers  # in the grid
        self.numbers = numbers      # writes numbers of groups into a block
        self.values = values        # what a weight can be, bits for it, d that makes the scale 1

    def dequantize(self, blocks):
        y = np.empty(len(blocks) // self.bytes * self.len, np.float32)
        self.to_float(bytes(blocks), y.ctypes.data, y.size)
        return y


# Each puts the number n of group i into block b.

def iq2_xxs(b, i, n):  # 32 weights: 4 numbers, 4 x 7 bits of signs and 4 bits of scale
    b[2 + 8 * (i // 4) + i % 4] = n


def iq2_xs(b, i, n):  # 16 bits: a number of 9 and 7 of signs
    struct.pack_into("<H", b, 2 + 2 * i, n | b[3 + 2 * i] >> 1 << 9)


def iq2_s(b, i, n):  # 8 bits, and 2 for each of 4 groups in another byte
    b[2 + i] = n & 255
    high, shift = 66 + i // 4, 2 * (i % 4)
    b[high] = b[high] & ~(3 << shift) | n >> 8 << shift


def iq3_xxs(b, i, n):
    b[2 + i] = n


def iq3_s(b, i, n):  # 8 bits, and 1 for each of 8 groups in another byte
    b[2 + i] = n & 255
    high, shift = 66 + i // 8, i % 8
    b[high] = b[high] & ~(1 << shift) | n >> 8 << shift


def types(lib):
    two = ([8, 25, 43], 2, 8)  # the scale is d * (1/2 + 0) / 4
    three = ([4, 12, 20, 28, 36, 44, 52, 62], 3, 4)  # d * (1/2 + 0) / 2
    return [
        Type(lib, 16, "IQ2_XXS", 256, iq2_xxs, two),
        Type(lib, 17, "IQ2_XS", 512, iq2_xs, two),
        Type(lib, 22, "IQ2_S", 1024, iq2_s, two),
        Type(lib, 18, "IQ3_XXS", 256, iq3_xxs, three),
        Type(lib, 21, "IQ3_S", 512, iq3_s, ([1, 3, 5, 7, 9, 11, 13, 15], 3, 1)),
        Type(lib, 20, "IQ4_NL"), Type(lib, 23, "IQ4_XS"), Type(lib, 40, "NVFP4"),
    ]


# ---- grids ----------------------------------------------------------------------------------------

def grid(t):
    values, bits, scale = t.values
    group = 4 if bits == 3 else 8
    n = t.len // group  # groups in a block
    entries = []
    for first in range(0, t.n_numbers, n):
        b = bytearray(t.bytes)
        b[:2] = np.float16(scale).tobytes()
        for i in range(n): t.numbers(b, i, first + i)
        for weights in t.dequantize(b).reshape(n, group):
            entries.append(sum(values.index(w) << bits * j for j, w in enumerate(weights)))
    assert len(set(entries)) == t.n_numbers
    return entries


def write_grids(all_types, path):
    out = ["/* Made by test/gen_quant.py. Groups of weights that blocks of IQ2 and IQ3 types name by",
           " * number: 8 of 2 bits, 0 to 2 for 8, 25, 43 (IQ2), or 4 of 3 bits, 0 to 7 for 4, 12, 20, 28,",
           " * 36, 44, 52, 62 (IQ3_XXS) or 1, 3 ... 15 (IQ3_S); the first in the lowest bits. Facts of the",
           " * format: ggml's dequantizers were asked for them. */",
           "#ifndef QUANT_GRIDS_H", "#define QUANT_GRIDS_H", "", "#include <stdint.h>"]
    for t in all_types:
        if not t.values: continue
        entries = grid(t)
        out += ["", "static const uint16_t %s_grid[%d] = {" % (t.name.lower(), len(entries))]
        for i in range(0, len(entries), 12):
            out.append("    " + " ".join("0x%04x," % e for e in entries[i:i + 12]))
        out.append("};")
    out += ["", "#endif", ""]
    open(path, "w").write("\n".join(out))


# ---- rows -----------------------------------------------------------------------------------------

# As halves: zeros, subnormals, the smallest and largest normal ones, negative ones, infinities, NaNs
SCALES = [0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0xfbff, 0xbc00, 0x7c00, 0xfc00, 0x7e00,
          0xfe01]


def blocks(t, rng):
    n = N_ROWS * 256 // t.len
    b = rng.integers(0, 256, (n, t.bytes), dtype=np.uint8)
    if t.name == "NVFP4":  # four scales of a byte: all of them
        for i in range(256): b[i // 4, i % 4] = i
        return b.tobytes()
    scales = (rng.standard_normal(n) * 0.01).astype(np.float16)
    b[:, :2] = scales.view(np.uint8).reshape(n, 2)
    for i, h in enumerate(SCALES): b[i, :2] = [h & 255, h >> 8]
    if t.n_numbers:  # every group, at random places
        n_groups = t.len // (4 if t.values[1] == 3 else 8)
        for at, number in enumerate(rng.permutation(t.n_numbers)):
            row = bytearray(b[len(SCALES) + at // n_groups].tobytes())
            t.numbers(row, at % n_groups, int(number))
            b[len(SCALES) + at // n_groups] = np.frombuffer(bytes(row), np.uint8)
    return b.tobytes()


def main():
    if len(sys.argv) != 2: sys.exit(__doc__)
    lib = C.CDLL(sys.argv[1])
    lib.ggml_get_type_traits.restype = C.POINTER(Traits)
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    all_types = types(lib)
    write_grids(all_types, os.path.join(root, "quant_grids.h"))
    for t in all_types:
        data = blocks(t, np.random.default_rng(t.n_numbers + t.bytes))
        path = os.path.join(root, "test/data/quant", t.name)
        open(path + ".blocks", "wb").write(data)
        t.dequantize(data).tofile(path + ".f32")


main()
