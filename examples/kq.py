#!/usr/bin/env python3
"""libkq by ctypes: language models in GGUF files, the same bits everywhere.

    with kq.Model("model.gguf") as model, kq.Engine(model, threads=2) as engine:
        text = engine.sequence()
        text.eval(model.encode("Once upon a time"))
        print(max(text.logits()))
        for piece in text.generate("And then", 20, temp=0.8, seed=1):
            print(piece.decode(errors="replace"), end="")

One file, no other module than Python's own. The library is looked for as $KQ_LIBRARY, beside the
system's other libraries, and in ../lib from here. Closing: sequences, then engines, then models;
`with` does it. kq.h says what else there is to know.

As a program: kq.py MODEL.gguf [TEXT [TOKENS]]
"""
import ctypes
import ctypes.util
import os
import sys

ADD_BOS, PARSE_SPECIAL = 1, 2
STATUS = ["ok", "bad file", "unsupported", "no memory", "full", "interrupted", "bad argument",
          "not finite", "io"]
FULL = 4


class _Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("text", ctypes.c_char * 512)]


class _EngineParams(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("threads", ctypes.c_int), ("batch", ctypes.c_int),
                ("isa", ctypes.c_char_p), ("act", ctypes.c_int), ("kv", ctypes.c_int),
                ("reference", ctypes.c_int)]


class _SamplerParams(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("repeat_penalty", ctypes.c_float),
                ("repeat_last_n", ctypes.c_int), ("presence_penalty", ctypes.c_float),
                ("frequency_penalty", ctypes.c_float), ("top_k", ctypes.c_int),
                ("top_p", ctypes.c_float), ("min_p", ctypes.c_float), ("temp", ctypes.c_float),
                ("seed", ctypes.c_uint64)]


class _Run(ctypes.Structure):
    _fields_ = [("seq", ctypes.c_void_p), ("ids", ctypes.POINTER(ctypes.c_int32)),
                ("n", ctypes.c_size_t), ("n_logits", ctypes.c_size_t)]


def _load():
    here = os.path.dirname(os.path.abspath(__file__))
    names = [os.environ.get("KQ_LIBRARY"), ctypes.util.find_library("kq"),
             os.path.join(here, "..", "lib", "libkq.so"), "libkq.so"]
    failed = []
    for name in filter(None, names):
        try:
            return ctypes.CDLL(name)
        except OSError as e:
            failed.append(str(e))
    raise OSError("libkq cannot be loaded (KQ_LIBRARY says where it is): " + "; ".join(failed))


_kq = _load()
_P, _I, _Z, _S = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
_PP, _E = ctypes.POINTER(_P), ctypes.POINTER(_Error)
_IDS, _FLOATS = ctypes.POINTER(ctypes.c_int32), ctypes.POINTER(ctypes.c_float)
for _name, _result, _arguments in [
        ("version", _S, []),
        ("model_open", _I, [_PP, _S, _E]), ("model_close", None, [_P]),
        ("n_vocab", _I, [_P]), ("is_eog", ctypes.c_bool, [_P, ctypes.c_int32]),
        ("model_note", _S, [_P, _Z]),
        ("encode", _I, [_P, _S, _Z, _I, _IDS, ctypes.POINTER(_Z), _E]),
        ("piece", _Z, [_P, ctypes.c_int32, _S, _Z]),
        ("engine_open", _I, [_PP, _P, ctypes.POINTER(_EngineParams), _E]),
        ("engine_close", None, [_P]), ("engine_stop", None, [_P]),
        ("seq_open", _I, [_PP, _P, _I, _E]), ("seq_close", None, [_P]),
        ("seq_context", _I, [_P]), ("seq_length", _I, [_P]), ("seq_rewind", _I, [_P, _I]),
        ("eval", _I, [_P, ctypes.POINTER(_Run), _Z, _E]),
        ("logits", _FLOATS, [_P, _Z, _Z, _E]),
        ("sampler_open", _I, [_PP, _P, ctypes.POINTER(_SamplerParams), _E]),
        ("sampler_close", None, [_P]),
        ("sampler_pick", ctypes.c_int32, [_P, _FLOATS, _IDS, _Z, _E])]:
    _function = getattr(_kq, "kq_" + _name)
    _function.restype, _function.argtypes = _result, _arguments


class Error(Exception):
    """What the library said; .status is its number, one of STATUS."""

    def __init__(self, err):
        super().__init__(err.text.decode(errors="replace"))
        self.status = err.status


def version():
    return _kq.kq_version().decode()


def _check(status, err):
    if status:
        raise Error(err)


class _Handle:
    """An object of the library, closed once: by close(), or at the end of a with."""
    _close = None

    def __init__(self, open_function, *arguments):
        self._p, err = _P(), _Error()
        _check(open_function(ctypes.byref(self._p), *arguments, err), err)

    def close(self):
        if self._p:
            type(self)._close(self._p)
            self._p = _P()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


class Model(_Handle):
    _close = _kq.kq_model_close

    def __init__(self, path):
        super().__init__(_kq.kq_model_open, os.fsencode(path))
        self.n_vocab = _kq.kq_n_vocab(self._p)

    def encode(self, text, add_bos=True, parse_special=False):
        """The ids of a str or of bytes, a list."""
        data = text.encode() if isinstance(text, str) else bytes(text)
        flags = ADD_BOS * bool(add_bos) + PARSE_SPECIAL * bool(parse_special)
        room = len(data) + 8
        while True:
            ids, n, err = (ctypes.c_int32 * room)(), _Z(room), _Error()
            status = _kq.kq_encode(self._p, data, len(data), flags, ids, n, err)
            if status != FULL:
                _check(status, err)
                return ids[:n.value]
            room = n.value

    def piece(self, token):
        """The bytes that a token adds to a text; they need not be whole characters."""
        buf = ctypes.create_string_buffer(_kq.kq_piece(self._p, token, None, 0))
        _kq.kq_piece(self._p, token, buf, len(buf))
        return buf.raw

    def decode(self, ids):
        return b"".join(map(self.piece, ids))

    def is_eog(self, token):
        return _kq.kq_is_eog(self._p, token)

    def notes(self):
        """What the file says of its vocabulary and is not followed: a list of str."""
        notes = []
        while (note := _kq.kq_model_note(self._p, len(notes))) is not None:
            notes.append(note.decode())
        return notes


class Engine(_Handle):
    _close = _kq.kq_engine_close

    def __init__(self, model, threads=0, batch=0, isa=None, act=0, kv=0, reference=False):
        params = _EngineParams(ctypes.sizeof(_EngineParams), threads, batch,
                               isa.encode() if isa else None, act, kv, reference)
        super().__init__(_kq.kq_engine_open, model._p, params)
        self.model, self._sequences = model, []

    def sequence(self, n_ctx=0):
        self._sequences.append(Sequence(self, n_ctx))
        return self._sequences[-1]

    def eval(self, runs):
        """runs: (sequence, ids, how many of the last ids' logits are wanted), evaluated together."""
        runs = [(s, (ctypes.c_int32 * len(ids))(*ids), n) for s, ids, n in runs]
        array = (_Run * len(runs))(*(_Run(s._p, ids, len(ids), n) for s, ids, n in runs))
        err = _Error()
        _check(_kq.kq_eval(self._p, array, len(runs), err), err)

    def logits(self, run=0, i=0):
        """After the i-th of the ids of that run of the last eval that wanted them: n_vocab floats,
        a copy, an array that has len(), [] and slices."""
        err = _Error()
        floats = _kq.kq_logits(self._p, run, i, err)
        _check(0 if floats else err.status, err)
        copy = (ctypes.c_float * self.model.n_vocab)()
        ctypes.memmove(copy, floats, ctypes.sizeof(copy))
        return copy

    def stop(self):
        """From another thread: ends the eval at work, or the next one, once."""
        _kq.kq_engine_stop(self._p)

    def close(self):
        for sequence in self._sequences:
            sequence.close()
        super().close()


class Sequence(_Handle):
    _close = _kq.kq_seq_close

    def __init__(self, engine, n_ctx=0):
        super().__init__(_kq.kq_seq_open, engine._p, n_ctx)
        self.engine, self.n_ctx = engine, _kq.kq_seq_context(self._p)

    def __len__(self):
        return _kq.kq_seq_length(self._p)

    def rewind(self, length):
        return _kq.kq_seq_rewind(self._p, length)

    def eval(self, ids, n_logits=1):
        self.engine.eval([(self, ids, n_logits)])

    def logits(self, i=0):
        """Of this sequence's own eval, as long as the engine has had no other one."""
        return self.engine.logits(0, i)

    def generate(self, prompt, n, **sampling):
        """Appends the prompt (text, or ids) and up to n tokens, and yields the bytes of each.
        sampling: temp, top_k, top_p, min_p, repeat_penalty, ..., seed; without: the likeliest."""
        model = self.engine.model
        ids = list(prompt) if isinstance(prompt, (list, tuple)) \
            else model.encode(prompt, add_bos=len(self) == 0)
        with Sampler(model, **sampling) as sampler:
            history, new = [], ids
            for _ in range(n):
                self.eval(new)
                history += new
                token = sampler.pick(self.logits(), history)
                if model.is_eog(token):
                    return
                new = [token]
                yield model.piece(token)


class Sampler(_Handle):
    _close = _kq.kq_sampler_close

    def __init__(self, model, **sampling):
        params = _SamplerParams(ctypes.sizeof(_SamplerParams), **sampling)
        super().__init__(_kq.kq_sampler_open, model._p, params)
        self.model = model

    def pick(self, logits, history=()):
        """logits: n_vocab floats, of whatever origin."""
        if len(logits) != self.model.n_vocab:
            raise ValueError(f"{self.model.n_vocab} logits are needed, not {len(logits)}")
        if not isinstance(logits, ctypes.Array):
            logits = (ctypes.c_float * len(logits))(*logits)
        ids, err = (ctypes.c_int32 * len(history))(*history), _Error()
        token = _kq.kq_sampler_pick(self._p, logits, ids, len(history), err)
        _check(err.status if token < 0 else 0, err)
        return token


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: kq.py MODEL.gguf [TEXT [TOKENS]]")
    text = sys.argv[2] if len(sys.argv) > 2 else "Once upon a time"
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    try:
        with Model(sys.argv[1]) as model, Engine(model) as engine:
            for piece in engine.sequence().generate(text, n, temp=0.7, top_p=0.9, seed=1):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
    except Error as e:
        sys.exit(f"kq.py: {e}")
    print()


if __name__ == "__main__":
    main()
