/**
 * MT19937 (Matsumoto and Nishimura 1998) with the seedings and distributions of numpy's legacy generator and of CPython's `random`, so that the
 * reference streams of reference values are made here and not kept as files.
 */
class Mersenne {
  readonly #state = new Uint32Array(624);
  #at = 624;

  protected seed(seed: number): void {
    this.#state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const before = this.#state[i - 1] ^ (this.#state[i - 1] >>> 30);
      this.#state[i] = Math.imul(1_812_433_253, before) + i;
    }
    this.#at = 624;
  }

  /** Seeds by an array of one word, as CPython does with a small whole number. */
  protected seedByArray(key: number): void {
    this.seed(19_650_218);
    const s = this.#state;
    let i = 1;
    const wrap = () => {
      if (++i < 624) return;
      s[0] = s[623];
      i = 1;
    };
    for (let round = 0; round < 624; round++) {
      s[i] = (s[i] ^ Math.imul(s[i - 1] ^ (s[i - 1] >>> 30), 1_664_525)) + key;
      wrap();
    }
    for (let round = 0; round < 623; round++) {
      s[i] = (s[i] ^ Math.imul(s[i - 1] ^ (s[i - 1] >>> 30), 1_566_083_941)) - i;
      wrap();
    }
    s[0] = 0x80000000;
    this.#at = 624;
  }

  uint32(): number {
    if (this.#at === 624) this.#twist();
    let y = this.#state[this.#at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** In [0, 1), 53 bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    return (high * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  #twist(): void {
    const s = this.#state;
    for (let i = 0; i < 624; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#at = 0;
  }
}

/** numpy.random.RandomState(seed) */
export class NumpyRandom extends Mersenne {
  #kept: number | undefined;

  constructor(seed: number) {
    super();
    this.seed(seed);
  }

  /** randint(bound), by masked rejection */
  below(bound: number): number {
    let mask = bound - 1;
    for (let shift = 1; shift < 32; shift *= 2) mask |= mask >>> shift;
    for (;;) {
      const value = (this.uint32() & mask) >>> 0;
      if (value < bound) return value;
    }
  }

  /** binomial(1, p), by inversion */
  coin(p: number): number {
    const rare = Math.min(p, 1 - p);
    const hit = this.uniform() > 1 - rare ? 1 : 0;
    return p <= 0.5 ? hit : 1 - hit;
  }

  /** normal(mean, deviation), polar */
  normal(mean = 0, deviation = 1): number {
    if (this.#kept !== undefined) {
      const kept = this.#kept;
      this.#kept = undefined;
      return mean + deviation * kept;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square >= 1 || square === 0) continue;
      const factor = Math.sqrt((-2 * Math.log(square)) / square);
      this.#kept = factor * x;
      return mean + deviation * factor * y;
    }
  }

  normals(mean: number, deviation: number, count: number): number[] {
    return Array.from({ length: count }, () => this.normal(mean, deviation));
  }
}

/** CPython's random.Random(seed), for seeds below 2^32. */
export class PythonRandom extends Mersenne {
  #kept: number | undefined;

  constructor(seed: number) {
    super();
    this.seedByArray(seed);
  }

  gauss(mean: number, deviation: number): number {
    let z = this.#kept;
    this.#kept = undefined;
    if (z === undefined) {
      const angle = 2 * Math.PI * this.uniform();
      const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
      z = Math.cos(angle) * radius;
      this.#kept = Math.sin(angle) * radius;
    }
    return mean + z * deviation;
  }

  /** choices(items, k) */
  choices(items: readonly number[], count: number): number[] {
    return Array.from({ length: count }, () => items[Math.floor(this.uniform() * items.length)]);
  }
}
