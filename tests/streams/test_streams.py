"""Streams: generated texts are parsed back, entropies counted, and every refusal names what is wrong."""

import bz2
import collections
import lzma
import math
import pickle
import re
import zlib

import numpy as np
import pytest
from effort import lines_run

from fwdgrad import streams
from fwdgrad.errors import AlphabetError, DataError, DeclarationError, FwdgradError, UnknownNameError
from fwdgrad.streams import (
    ANBN,
    Alphabet,
    anbn,
    anbn_entropy,
    brackets_alphabet,
    compressed_bits,
    copy_task,
    distant_brackets,
    distant_brackets_entropy,
    entropy,
    next_symbol,
    python_text,
    read_text,
    references,
    text_stream,
)


def rng(seed=0):
    """A fresh generator."""
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------------------------ grammars


def parse_anbn(text, k, l):  # noqa: E741
    """The n of every complete block; ValueError unless the text is blocks of the grammar, the last one perhaps cut."""
    found = []
    while text:
        head = re.match(r"(a+)\n(b+)\n", text)
        if head is None:
            n = max(len(re.match("a*", text)[0]), k)
            if not any(f"{'a' * m}\n{'b' * m}\n".startswith(text) for m in range(n, l + 1)):
                raise ValueError(f"no beginning of a block: {text[:50]!r}")
            break
        a, b = len(head[1]), len(head[2])
        if a != b or not k <= a <= l:
            raise ValueError(f"{a} a's and {b} b's")
        found.append(a)
        text = text[head.end() :]
    return found


def parse_brackets(text, s, k, a):
    """(bracketed, between) of every complete line; ValueError unless the text is lines of the grammar."""
    letters = "".join(brackets_alphabet(a).characters[3:])
    line = re.compile(rf"\[([{letters}]{{{s}}})\]([{letters}]{{{k}}})\[\1\]\n")
    period = len("[]" * 2 + "\n") + 2 * s + k
    found = []
    for start in range(0, len(text), period):
        piece = text[start : start + period]
        # A cut line is completed: free letters by any, the rest follows from them.
        free = piece[1 : s + 1].ljust(s, letters[0]), piece[s + 2 : s + 2 + k].ljust(k, letters[0])
        piece += "[{0}]{1}[{0}]\n".format(*free)[len(piece) :]
        head = line.fullmatch(piece)
        if head is None:
            raise ValueError(f"no line of the grammar: {piece!r}")
        if start + period <= len(text):
            found.append((head[1], head[2]))
    return found


@pytest.mark.parametrize(("k", "l"), [(1, 1), (1, 2), (1, 32), (3, 3), (5, 17)])
@pytest.mark.parametrize("length", [1, 2, 7, 500, 4001])
def test_anbn_is_the_grammar(k, l, length):  # noqa: E741
    """Every block has as many b's as a's, in range, and the length is exact."""
    symbols = anbn(k, l, length, rng(k + l))
    assert symbols.shape == (length,)
    assert symbols.dtype == np.int64
    parse_anbn(ANBN.decode(symbols), k, l)


def test_anbn_covers_its_range_uniformly():
    """All n occur, both ends included, with a G statistic no larger than chi squared allows."""
    k, l = 2, 9  # noqa: E741
    n = parse_anbn(ANBN.decode(anbn(k, l, 50_000, rng())), k, l)
    assert set(n) == set(range(k, l + 1))
    assert g_statistic(n, l - k + 1) < chi_squared_bound(l - k)


def test_a_corrupted_anbn_fails_the_parser():
    """Negative control: whichever single symbol of the complete blocks is changed, the parser objects."""
    symbols = anbn(1, 6, 300, rng())
    parse_anbn(ANBN.decode(symbols), 1, 6)
    complete = 2 * sum(n + 1 for n in parse_anbn(ANBN.decode(symbols), 1, 6))
    for position in range(complete):
        for other in {0, 1, 2} - {int(symbols[position])}:
            wrong = symbols.copy()
            wrong[position] = other
            with pytest.raises(ValueError, match=r"a's and|no beginning"):
                parse_anbn(ANBN.decode(wrong), 1, 6)


def test_anbn_of_another_range_fails_the_parser():
    """Negative control: n out of k .. l is noticed."""
    with pytest.raises(ValueError, match=r"a's and|no beginning"):
        parse_anbn(ANBN.decode(anbn(1, 8, 1000, rng())), 1, 7)
    with pytest.raises(ValueError, match=r"a's and|no beginning"):
        parse_anbn(ANBN.decode(anbn(1, 8, 1000, rng())), 2, 8)


def test_anbn_with_blocks_longer_than_the_stream():
    """Memory follows the length asked for, not the length of a block."""
    assert ANBN.decode(anbn(10**9, 2**40, 5, rng())) == "aaaaa"


@pytest.mark.parametrize(("s", "k", "a"), [(1, 5, 10), (1, 0, 1), (3, 0, 2), (4, 2, 26), (2, 7, 62)])
@pytest.mark.parametrize("length", [1, 5, 300, 4001])
def test_distant_brackets_is_the_grammar(s, k, a, length):
    """Every line repeats its bracketed letters at the right distance."""
    symbols = distant_brackets(s, k, a, length, rng(s + k))
    assert symbols.shape == (length,)
    assert symbols.dtype == np.int64
    assert len(parse_brackets(brackets_alphabet(a).decode(symbols), s, k, a)) == length // (2 * s + k + 5)


def test_distant_brackets_is_the_sample_of_the_paper():
    """Figure 3b of Tallec and Ollivier 2018: lines such as [a]bcdef[a]; 6 log2(10)/12 bits per character."""
    text = brackets_alphabet(10).decode(distant_brackets(1, 5, 10, 24, rng()))
    assert text == "[i]gfcda[i]\n[a]abigj[a]\n"
    assert distant_brackets_entropy(1, 5, 10) == pytest.approx(6 * math.log2(10) / 12) == pytest.approx(1.661, abs=5e-4)


@pytest.mark.parametrize(("s", "k", "a"), [(1, 0, 2), (1, 1, 2), (2, 1, 2), (1, 2, 3)])
def test_distant_brackets_entropy_by_enumeration(s, k, a):
    """The entropy of a whole line among all lines of the grammar, each as likely, over its length."""
    lines = parse_brackets(brackets_alphabet(a).decode(distant_brackets(s, k, a, 20_000, rng())), s, k, a)
    assert len(set(lines)) == a ** (s + k)  # all of them come
    assert math.log2(len(set(lines))) / len("[]" * 2 + "\n" + "x" * (2 * s + k)) == pytest.approx(
        distant_brackets_entropy(s, k, a)
    )


def test_distant_brackets_letters_are_uniform_and_independent():
    """Letters in each place, and pairs of places, have the G statistic of independent uniform draws."""
    s, k, a = 2, 3, 5
    lines = parse_brackets(brackets_alphabet(a).decode(distant_brackets(s, k, a, 50_000, rng())), s, k, a)
    drawn = [bracketed + between for bracketed, between in lines]
    for i in range(s + k):
        assert g_statistic([line[i] for line in drawn], a) < chi_squared_bound(a - 1)
        for j in range(i):
            assert g_statistic([(line[i], line[j]) for line in drawn], a * a) < chi_squared_bound(a * a - 1)


def test_a_corrupted_distant_brackets_fails_the_parser():
    """Negative control: a changed bracket, newline, bracketed letter or repeat is noticed; a free letter is free."""
    s, k, a = 2, 3, 4
    period = 2 * s + k + 5
    symbols = distant_brackets(s, k, a, 10 * period, rng())
    alphabet = brackets_alphabet(a)
    for position in range(len(symbols)):
        wrong = symbols.copy()
        wrong[position] = 3 + (symbols[position] - 3 + 1) % a if symbols[position] >= 3 else 3
        if s + 2 <= position % period < s + 2 + k:
            parse_brackets(alphabet.decode(wrong), s, k, a)
        else:
            with pytest.raises(ValueError, match="no line"):
                parse_brackets(alphabet.decode(wrong), s, k, a)


@pytest.mark.parametrize(("lag", "symbols"), [(0, 2), (1, 2), (5, 2), (7, 9)])
def test_copy_task_recalls(lag, symbols):
    """The target is the input `lag` steps ago, and exactly the first `lag` targets are missing."""
    xs, ys = copy_task(lag, 200, rng(), symbols=symbols)
    assert xs.dtype == ys.dtype == np.int64
    assert xs.shape == ys.shape == (200,)
    assert set(xs.tolist()) == set(range(symbols))
    assert isinstance(ys, np.ma.MaskedArray)
    assert np.ma.getmaskarray(ys).tolist() == [True] * lag + [False] * (200 - lag)
    assert all(ys[t] == xs[t - lag] for t in range(lag, 200))
    assert (ys.data[:lag] == -1).all()


def test_copy_task_inputs_tell_nothing_about_the_target():
    """Inputs at other lags are independent of the target (and the input at the right one is not: the control)."""
    xs, ys = copy_task(5, 20_000, rng())
    for back in range(8):
        pairs = list(zip(xs[10 - back : len(xs) - back].tolist(), ys.data[10:].tolist(), strict=True))
        assert (g_statistic(pairs, 4) < chi_squared_bound(3)) == (back != 5)


# ------------------------------------------------------------------------------------------------ seeds and prefixes

GENERATORS = {
    "anbn(1, 32)": lambda length, seed: anbn(1, 32, length, rng(seed)),
    "anbn(1, 1)": lambda length, seed: anbn(1, 1, length, rng(seed)),
    "anbn(3, 2**40)": lambda length, seed: anbn(3, 2**40, length, rng(seed)),
    "distant_brackets(1, 5, 10)": lambda length, seed: distant_brackets(1, 5, 10, length, rng(seed)),
    "distant_brackets(3, 0, 7)": lambda length, seed: distant_brackets(3, 0, 7, length, rng(seed)),
    "copy_task(3) inputs": lambda length, seed: copy_task(3, length, rng(seed), symbols=5)[0],
    "copy_task(3) targets": lambda length, seed: copy_task(3, length, rng(seed), symbols=5)[1].filled(),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_a_longer_stream_begins_with_the_shorter_one(name):
    """Prefix property, at every length up to 120 and at a few large ones."""
    make = GENERATORS[name]
    longest = make(50_001, 3)
    for length in [*range(4, 120), 1000, 4096, 49_999, 50_000]:
        assert np.array_equal(make(length, 3), longest[:length])


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in ("anbn(1, 1)", "anbn(3, 2**40)")])
def test_seeds_decide_the_stream(name):
    """The same seed gives the same stream, another seed another one."""
    make = GENERATORS[name]
    assert np.array_equal(make(500, 1), make(500, 1))
    assert not np.array_equal(make(500, 1), make(500, 2))


def test_a_million_symbols_take_little_work():
    """Generation, coding and counting are vectorised: the bound is far above a vectorised run, far below a loop."""

    def all_of_them():
        anbn(1, 32, 10**6, rng())
        copy_task(5, 10**6, rng())
        symbols = distant_brackets(1, 5, 10, 10**6, rng())
        alphabet = brackets_alphabet(10)
        assert np.array_equal(alphabet.encode(alphabet.decode(symbols)), symbols)
        entropy(symbols)

    assert lines_run(all_of_them) < 10**5


def test_a_loop_is_much_work():
    """Negative control of how work is counted."""

    def loop():
        for _ in range(1000):
            pass

    assert lines_run(loop) > 1000


# ------------------------------------------------------------------------------------------------ entropies


def g_statistic(values, categories):
    """2 N ln 2 (log2 of the number of categories - plug-in entropy): chi squared with categories - 1 degrees."""
    counts = collections.Counter(values)
    bits = sum(c / len(values) * math.log2(len(values) / c) for c in counts.values())
    return 2 * len(values) * math.log(2) * (math.log2(categories) - bits)


def chi_squared_bound(degrees):
    """Six standard deviations above the mean, with the skew term of Wilson and Hilferty."""
    return degrees * (1 - 2 / (9 * degrees) + 6 * math.sqrt(2 / (9 * degrees))) ** 3


def test_the_uniformity_bound_notices_a_bias():
    """Negative control: a slightly loaded draw exceeds the bound that a fair one meets."""
    fair = rng().integers(0, 8, 20_000).tolist()
    loaded = rng().choice(8, 20_000, p=[0.15, 0.1, *[0.125] * 6]).tolist()
    assert g_statistic(fair, 8) < chi_squared_bound(7) < g_statistic(loaded, 8)


def anbn_ideal_bits(text, k, l):  # noqa: E741
    """Code length, character by character, under the true conditional probabilities."""
    bits, a, b = 0.0, 0, None
    for character in text:
        if b is None:  # among the a's: n is uniform in max(a, k) .. l, so it ends here with probability 1 / how many
            end = 1 / (l - a + 1) if a >= k else 0.0
            bits -= math.log2(end if character == "\n" else 1 - end)
            a, b = (a, 0) if character == "\n" else (a + 1, None)
        else:  # the rest of the block is determined
            assert character == ("b" if b < a else "\n")
            a, b = (a, b + 1) if b < a else (0, None)
    return bits


@pytest.mark.parametrize(("k", "l"), [(1, 32), (1, 2), (4, 9), (3, 3)])
def test_anbn_entropy_is_what_an_ideal_model_pays(k, l):  # noqa: E741
    """On complete blocks an ideal model pays log2(l - k + 1) each; per character that is the closed form."""
    text = ANBN.decode(anbn(k, l, 40_000, rng()))
    n = parse_anbn(text, k, l)
    complete = sum(2 * m + 2 for m in n)
    paid = anbn_ideal_bits(text[:complete], k, l)
    assert paid == pytest.approx(len(n) * math.log2(l - k + 1), rel=1e-9)
    # The mean block length lies within six standard errors of its expectation; so does the rate.
    error = 6 * math.sqrt(((l - k + 1) ** 2 - 1) / 3 / len(n)) / (k + l + 2)
    assert paid / complete == pytest.approx(anbn_entropy(k, l), rel=error + 1e-9)


def test_anbn_entropy_by_enumeration():
    """Bits per block over characters per block, both averaged over all n."""
    for k, l in [(1, 1), (1, 32), (2, 7), (10, 100)]:  # noqa: E741
        blocks = [f"{'a' * n}\n{'b' * n}\n" for n in range(k, l + 1)]
        assert anbn_entropy(k, l) == pytest.approx(math.log2(len(blocks)) / np.mean([len(block) for block in blocks]))


def test_anbn_entropy_is_the_published_number():
    """0.14 bits per character for (1, 32), and 0.28 for a model that does not count: Tallec and Ollivier, section 6."""
    assert anbn_entropy(1, 32) == pytest.approx(1 / 7)
    assert f"{anbn_entropy(1, 32):.2f}" == "0.14"
    assert 2 * anbn_entropy(1, 32) == pytest.approx(0.28, abs=0.006)


@pytest.mark.parametrize(("s", "k", "a"), [(1, 5, 10), (3, 0, 2), (2, 4, 62), (1, 3, 1)])
def test_distant_brackets_entropy_is_what_an_ideal_model_pays(s, k, a):
    """By counting: log2(a) for every free letter of a line, nothing for the rest."""
    length = 50 * (2 * s + k + 5)
    lines = parse_brackets(brackets_alphabet(a).decode(distant_brackets(s, k, a, length, rng())), s, k, a)
    paid = sum(math.log2(a) * len(bracketed + between) for bracketed, between in lines)
    assert paid / length == pytest.approx(distant_brackets_entropy(s, k, a))


def test_entropy_of_known_frequencies():
    """Exact values, among them those of constants (zero, not minus zero) and of uniform symbols."""
    assert entropy([0, 1, 0, 2]) == pytest.approx(1.5)
    assert math.copysign(1, entropy([7, 7, 7])) == 1
    assert entropy([7, 7, 7]) == 0
    assert entropy(np.arange(32, dtype=np.uint8)) == pytest.approx(5)
    assert entropy([-3, 10**15]) == pytest.approx(1)


def test_entropy_by_counting():
    """The plug-in formula, counted in plain Python."""
    symbols = anbn(1, 5, 1000, rng())
    counts = collections.Counter(symbols.tolist())
    assert entropy(symbols) == pytest.approx(-sum(c / 1000 * math.log2(c / 1000) for c in counts.values()))


def test_compressed_bits_is_what_the_compressors_write():
    """Bits of the UTF-8 text at the highest level over characters, also where one character takes two bytes."""
    text = "online, forward in time; é\n" * 40 + python_text(150_000)
    data = text.encode("utf-8")
    written = {
        "zlib": zlib.compress(data, 9),
        "bz2": bz2.compress(data, 9),
        "lzma": lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    }
    assert {method: compressed_bits(text, method) for method in written} == {
        method: 8 * len(compressed) / len(text) for method, compressed in written.items()
    }


def test_references_of_noise_and_of_repetition():
    """No compressor beats the entropy of independent letters; all see a repetition that the unigram entropy misses."""
    noise = Alphabet("abcdefghijklmnop").decode(rng().integers(0, 16, 20_000))
    found = references(noise)
    assert list(found) == ["unigram entropy", "zlib", "bz2", "lzma"]
    assert all(3.99 < bits < 4.8 for bits in found.values())
    found = references("abcdefghijklmnop" * 1250)
    assert found.pop("unigram entropy") == pytest.approx(4)
    assert all(0 < bits < 0.1 for bits in found.values())


def test_references_of_english():
    """On prose, compressors beat the unigram entropy, which stays below the size of the alphabet."""
    text = python_text(100_000)
    found = references(text)
    unigram = found.pop("unigram entropy")
    assert all(1 < bits < unigram for bits in found.values())
    assert unigram < math.log2(len(Alphabet.of(text)))


# ------------------------------------------------------------------------------------------------ alphabets


@pytest.mark.parametrize(
    "text", ["a", "hello\nworld", "zyx", "naïve café \U0001f600\U0010ffff\x00", "lone \ud800 surrogate", "\r\n\t"]
)
def test_alphabet_round_trip(text):
    """Decoding undoes encoding, for the text's own alphabet and for one in another order."""
    for alphabet in (Alphabet.of(text), Alphabet(reversed(Alphabet.of(text).characters))):
        symbols = alphabet.encode(text)
        assert symbols.dtype == np.int64
        assert [alphabet.characters[i] for i in symbols] == list(text)
        assert alphabet.decode(symbols) == text
        assert [alphabet.decode(i) for i in symbols] == list(text)


def test_alphabet_round_trip_of_random_symbols():
    """Encoding undoes decoding, for shuffled alphabets over all of Unicode."""
    generator = rng()
    for size in (1, 2, 50, 3000):
        points = generator.choice(0x110000, size, replace=False)
        alphabet = Alphabet(chr(point) for point in points)
        symbols = generator.integers(0, size, 500)
        assert np.array_equal(alphabet.encode(alphabet.decode(symbols)), symbols)


def test_alphabet_is_a_value():
    """Length, membership, iteration, equality, hash, pickling; no assignment."""
    alphabet = Alphabet.of("banana")
    assert alphabet.characters == ("a", "b", "n")
    assert list(alphabet) == ["a", "b", "n"]
    assert len(alphabet) == 3
    assert "n" in alphabet
    assert "an" not in alphabet
    assert alphabet == Alphabet("abn")
    assert hash(alphabet) == hash(Alphabet("abn"))
    assert alphabet != Alphabet("bna")
    alphabet.encode("ban")
    assert pickle.loads(pickle.dumps(alphabet)) == alphabet
    with pytest.raises(AttributeError):
        alphabet.characters = ("x",)


def test_alphabet_repr_is_short():
    """Small alphabets evaluate back; large ones show their size and beginning."""
    assert eval(repr(ANBN), {"Alphabet": Alphabet}) == ANBN
    large = Alphabet(chr(i) for i in range(32, 5000))
    assert "4968 characters" in repr(large)
    assert len(repr(large)) < 80


def test_empty_texts_code_to_nothing():
    """An empty text has no symbols, whatever the alphabet."""
    assert ANBN.encode("").shape == (0,)
    assert ANBN.decode([]) == ""


def test_encode_names_the_foreign_character():
    """Character, code point, position, line, column, size, how many, and the mend."""
    with pytest.raises(AlphabetError) as caught:
        ANBN.encode("ab\nbaéc")
    for part in ["'é'", "U+00E9", "position 5", "line 2, column 3", "3 characters", "2 of 7", "Mend:", "Alphabet.of"]:
        assert part in str(caught.value)


@pytest.mark.parametrize("foreign", ["\x00", "c", "B", "\U0010ffff", "\ud800", "`", "\x0b"])
def test_encode_refuses_neighbours_of_the_alphabet(foreign):
    """Code points below, between and above those of the alphabet."""
    with pytest.raises(AlphabetError, match=rf"U\+{ord(foreign):04X}"):
        ANBN.encode("ab" + foreign)


@pytest.mark.parametrize("symbol", [-1, 3, 10**12])
def test_decode_names_the_foreign_symbol(symbol):
    """A negative symbol does not count from the end."""
    with pytest.raises(AlphabetError, match=f"symbol {symbol} at position 2 .*\nExpected 0 .. 2"):
        ANBN.decode([0, 1, symbol])


# ------------------------------------------------------------------------------------------------ texts


def test_next_symbol_shifts_by_one():
    """Inputs and targets are views of one array; other integer dtypes become int64."""
    symbols = np.arange(5)
    xs, ys = next_symbol(symbols)
    assert xs.tolist() == [0, 1, 2, 3]
    assert ys.tolist() == [1, 2, 3, 4]
    assert np.shares_memory(xs, symbols)
    assert next_symbol(np.arange(5, dtype=np.uint8))[0].dtype == np.int64


def test_text_stream_predicts_the_next_character():
    """Input t is character t, target t is character t + 1, in the text's alphabet or a given one."""
    text = "to be, or not to be"
    for given in (None, Alphabet.of(text + "xyz")):
        xs, ys, alphabet = text_stream(text, given)
        assert alphabet.decode(xs) == text[:-1]
        assert alphabet.decode(ys) == text[1:]
        assert alphabet == (given or Alphabet.of(text))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb", "a\nb"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        ("\ufeffna\u00efve".encode(), "na\u00efve"),
        (b" \t", " \t"),
    ],
)
def test_read_text(tmp_path, data, text):
    """Line ends are unified, a byte order mark is dropped, nothing else is touched."""
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    assert read_text(path) == read_text(str(path)) == text


def test_read_text_in_another_encoding(tmp_path):
    """What is no UTF-8 is refused with the offset, and read under its own encoding."""
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 noir")
    with pytest.raises(DataError, match=r"latin\.txt.*byte 0xE9 at offset 3"):
        read_text(path)
    assert read_text(path, encoding="latin-1") == "caf\xe9 noir"
    with pytest.raises(DeclarationError, match="klingon"):
        read_text(path, encoding="klingon")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_read_text_refuses_an_empty_file(tmp_path, content):
    """Also one that holds nothing but a byte order mark."""
    path = tmp_path / "nothing.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"nothing\.txt.*empty"):
        read_text(path)


def test_read_text_refuses_what_is_no_file(tmp_path):
    """A missing file and a folder."""
    with pytest.raises(DataError, match=r"missing\.txt"):
        read_text(tmp_path / "missing.txt")
    with pytest.raises(DataError, match="readable file"):
        read_text(tmp_path)


def test_python_text_is_there():
    """Some hundred thousand characters of English, the same each time, cut from the beginning."""
    text = python_text()
    assert text == python_text()
    assert len(text) > 300_000
    assert text.count(" the ") > 1000
    assert python_text(777) == text[:777]
    assert python_text(len(text)) == text
    with pytest.raises(DataError, match=str(len(text))):
        python_text(len(text) + 1)


def test_python_text_without_help_topics(monkeypatch):
    """A Python stripped of its help topics is named as such."""
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="pydoc_data"):
        python_text()


# ------------------------------------------------------------------------------------------------ refusals

REFUSED = {
    "anbn: k > l": (lambda: anbn(3, 2, 10, rng()), DeclarationError, "k=3 and l=2"),
    "anbn: k = 0": (lambda: anbn(0, 2, 10, rng()), DeclarationError, "expected k to be an integer of at least 1"),
    "anbn: l too large": (lambda: anbn(1, 2**63, 10, rng()), DeclarationError, "expected l"),
    "anbn: float k": (lambda: anbn(1.0, 2, 10, rng()), DeclarationError, "1.0"),
    "anbn: bool k": (lambda: anbn(True, 2, 10, rng()), DeclarationError, "True"),
    "anbn: no length": (lambda: anbn(1, 2, 0, rng()), DeclarationError, "expected length"),
    "anbn: seed": (lambda: anbn(1, 2, 10, 5), DeclarationError, r"np.random.default_rng\(5\)"),
    "anbn: RandomState": (
        lambda: anbn(1, 2, 10, np.random.RandomState(0)),
        DeclarationError,
        r"np.random.default_rng\(seed\)",
    ),
    "anbn_entropy: k > l": (lambda: anbn_entropy(3, 2), DeclarationError, "k=3 and l=2"),
    "brackets: s = 0": (lambda: distant_brackets(0, 5, 10, 9, rng()), DeclarationError, "expected s"),
    "brackets: k < 0": (lambda: distant_brackets(1, -1, 10, 9, rng()), DeclarationError, "expected k"),
    "brackets: a = 63": (lambda: distant_brackets(1, 5, 63, 9, rng()), DeclarationError, r"1 \.\. 62, got 63"),
    "brackets: length": (lambda: distant_brackets(1, 5, 10, -9, rng()), DeclarationError, "expected length"),
    "brackets: no rng": (lambda: distant_brackets(1, 5, 10, 9, None), DeclarationError, "default_rng"),
    "brackets_entropy: a = 0": (lambda: distant_brackets_entropy(1, 5, 0), DeclarationError, "expected a"),
    "brackets_alphabet: a = 0": (lambda: brackets_alphabet(0), DeclarationError, "expected a"),
    "copy: lag < 0": (lambda: copy_task(-1, 9, rng()), DeclarationError, "expected lag"),
    "copy: nothing to learn": (lambda: copy_task(9, 9, rng()), DeclarationError, "length=9 and lag=9"),
    "copy: one symbol": (lambda: copy_task(1, 9, rng(), symbols=1), DeclarationError, "expected symbols"),
    "copy: module": (lambda: copy_task(1, 9, np.random), DeclarationError, "default_rng"),
    "Alphabet: none": (lambda: Alphabet(""), DeclarationError, "at least one"),
    "Alphabet: twice": (lambda: Alphabet("hello"), DeclarationError, r"'l' \(U\+006C\).*\n.*Alphabet.of"),
    "Alphabet: words": (lambda: Alphabet(["a", "bc"]), DeclarationError, "'bc'"),
    "Alphabet: bytes": (lambda: Alphabet(b"ab"), DeclarationError, "97"),
    "Alphabet: number": (lambda: Alphabet(3), DeclarationError, "got 3"),
    "Alphabet.of: empty": (lambda: Alphabet.of(""), DataError, "at least 1 character, got 0"),
    "Alphabet.of: bytes": (lambda: Alphabet.of(b"ab"), DataError, "decode"),
    "encode: bytes": (lambda: ANBN.encode(b"ab"), DataError, "bytes"),
    "decode: floats": (lambda: ANBN.decode([0.0, 1.0]), DataError, "float64"),
    "decode: text": (lambda: ANBN.decode("ab"), DataError, "encode"),
    "decode: bools": (lambda: ANBN.decode([True]), DataError, "bool"),
    "decode: two axes": (lambda: ANBN.decode([[0, 1]]), DataError, r"\(1, 2\)"),
    "decode: missing": (lambda: ANBN.decode(copy_task(2, 9, rng())[1]), DataError, "masked"),
    "next_symbol: one": (lambda: next_symbol([1]), DataError, "got 1"),
    "next_symbol: scalar": (lambda: next_symbol(1), DataError, r"shape \(\)"),
    "next_symbol: uint64": (lambda: next_symbol(np.zeros(3, np.uint64)), DataError, "uint64"),
    "next_symbol: text": (lambda: next_symbol("abc"), DataError, "Alphabet.of"),
    "entropy: none": (lambda: entropy([]), DataError, "at least one"),
    "entropy: floats": (lambda: entropy([0.5]), DataError, "float64"),
    "text_stream: one": (lambda: text_stream("a"), DataError, "at least 2 characters, got 1"),
    "text_stream: foreign": (lambda: text_stream("abc", ANBN), AlphabetError, "'c'"),
    "text_stream: str alphabet": (lambda: text_stream("ab", "ab"), DeclarationError, "Alphabet"),
    "python_text: none": (lambda: python_text(0), DeclarationError, "expected characters"),
    "compressed_bits: empty": (lambda: compressed_bits("", "zlib"), DataError, "at least 1"),
    "compressed_bits: method": (lambda: compressed_bits("a", "bz"), UnknownNameError, "'bz2'"),
    "compressed_bits: no name": (lambda: compressed_bits("a", ["zlib"]), UnknownNameError, "zlib, bz2, lzma"),
    "compressed_bits: surrogate": (lambda: compressed_bits("a\ud800", "bz2"), DataError, r"U\+D800.*position 1"),
    "references: empty": (lambda: references(""), DataError, "references"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_say_what_and_how_to_mend(case):
    """The named class, what was expected, what came, the mend, in five lines or fewer."""
    call, error, pattern = REFUSED[case]
    with pytest.raises(FwdgradError, match=pattern) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert "expected" in message.lower()
    assert "got" in message or error is AlphabetError
    assert len(message.splitlines()) <= 5
    assert "Mend:" in message or "Did you mean" in message or "Known:" in message


def test_every_public_name_is_there_and_documented():
    """`__all__` is complete: what is public and defined here is in it."""
    defined = {
        name
        for name, value in vars(streams).items()
        if not name.startswith("_")
        and str(getattr(value, "__module__", "")).startswith(streams.__name__)
        and callable(value)
    }
    assert defined | {"ANBN"} == set(streams.__all__)
    assert all("Example:" in getattr(streams, name).__doc__ for name in defined)
