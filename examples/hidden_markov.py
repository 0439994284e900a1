"""Vowels and consonants: a hidden Markov model finds them in English by itself (Cave and Neuwirth 1980).

Two hidden states, 27 symbols: the letters and the space between words. Online EM (Cappé 2011) sees each letter once.
One state comes to emit vowels and the space, the other consonants, since in English they tend to alternate. Once with
exact statistics, once with those that are reduced by random signs, for which memory and work are those of the
parameters.

    python hidden_markov.py

takes half a minute. `--states 4` finds more. EM finds a local optimum: with `--seed 3` another one.
"""

import argparse
import time

import numpy as np

import fwdgrad as fg

ALPHABET = " abcdefghijklmnopqrstuvwxyz"


def letters(count):
    """English, as numbers of letters; whatever else there is becomes one space."""
    text = "".join(c if c in ALPHABET else " " for c in fg.streams.python_text().lower())
    return [ALPHABET.index(c) for c in " ".join(text.split())[:count]]


def start(states, seed):
    """Parameters that are nearly, but not quite, alike for all states."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(states, 20.0), states), rng.dirichlet(np.full(len(ALPHABET), 20.0), states)


def learned(ys, states, exact, seed):
    """The model after one pass, and its mean loss over the last tenth, in bits per letter."""
    rate = fg.schedules.inverse_power(1.0, 0.6)
    em = fg.OnlineEM(*start(states, seed), exact=exact, rate=rate, start=500, average=len(ys) // 2, seed=seed)
    losses = em.run(ys)
    return em, losses[-len(ys) // 10 :].mean() / np.log(2)


def groups(em):
    """For each state the letters that most likely come from it, the most frequent first."""
    q, g = em.averaged
    values, vectors = np.linalg.eig(q.T)
    often = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    joint = (often / often.sum())[:, None] * g
    owners = np.argmax(joint, axis=0)
    order = np.argsort(-joint.sum(axis=0))
    return ["".join(ALPHABET[k] for k in order if owners[k] == i).replace(" ", "_") for i in range(len(q))]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--letters", type=int, default=60_000)
    parser.add_argument("--states", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    ys = letters(options.letters)
    for exact in (True, False):
        before = time.perf_counter()
        em, bits = learned(ys, options.states, exact, options.seed)
        seconds = time.perf_counter() - before
        print(f"{'exact' if exact else 'reduced'}: {bits:.3f} bits a letter, {em.nbytes:,} bytes, {seconds:.0f} s")
        for i, group in enumerate(groups(em)):
            print(f"  state {i}: {group}")


if __name__ == "__main__":
    main()
