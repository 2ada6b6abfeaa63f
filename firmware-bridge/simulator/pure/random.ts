/** Layers of the ziggurat, where its base strip begins, and the area of every layer (Marsaglia and Tsang 2000). */
const LAYERS = 128;
const TAIL = 3.442619855899;
const LAYER_AREA = 9.91256303526217e-3;
/** The magnitude of a draw has 24 bits, so a standard normal is resolved to 2e-7. */
const MAGNITUDE = 2 ** 24;

const inside = new Float64Array(LAYERS);
const width = new Float64Array(LAYERS);
const density = new Float64Array(LAYERS);
{
  const bell = (x: number): number => Math.exp(-0.5 * x * x);
  const base = LAYER_AREA / bell(TAIL);
  inside[0] = (TAIL / base) * MAGNITUDE;
  inside[1] = 0;
  width[0] = base / MAGNITUDE;
  density[0] = 1;
  let edge = TAIL;
  width[LAYERS - 1] = edge / MAGNITUDE;
  density[LAYERS - 1] = bell(edge);
  for (let i = LAYERS - 2; i >= 1; i--) {
    const next = Math.sqrt(-2 * Math.log(LAYER_AREA / edge + bell(edge)));
    inside[i + 1] = (next / edge) * MAGNITUDE;
    edge = next;
    width[i] = edge / MAGNITUDE;
    density[i] = bell(edge);
  }
}

const rotateLeft = (x: number, bits: number): number => (x << bits) | (x >>> (32 - bits));

/** One step of splitmix32: spreads seeds that differ in a bit over all 32 (murmur3's finaliser). */
function scramble(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/**
 * A seeded stream of random numbers: xoshiro128** (Blackman and Vigna 2021), normal deviates by the ziggurat.
 *
 * `stream` names an independent sequence of the same seed, so that a parameter added to one group of draws moves no other group.
 * Not for cryptography.
 */
export class Random {
  readonly #state = new Int32Array(4);

  constructor(seed: number, stream = '') {
    let name = 0x811c9dc5; // FNV-1a
    for (let i = 0; i < stream.length; i++) name = Math.imul(name ^ stream.charCodeAt(i), 0x01000193);
    const low = seed | 0;
    const high = Math.floor(seed / 2 ** 32) | 0;
    let counter = scramble(low) ^ scramble(high + 0x632be5ab) ^ scramble(name);
    for (let i = 0; i < 4; i++) {
      counter = (counter + 0x9e3779b9) | 0;
      this.#state[i] = scramble(counter ^ low) ^ scramble(Math.imul(counter, 0x2c1b3c6d) ^ name);
    }
    if (this.#state.every((word) => word === 0)) this.#state[0] = 1; // the one state xoshiro cannot leave
  }

  /** 32 random bits as a signed integer. */
  int32(): number {
    const s = this.#state;
    const s1 = s[1];
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9);
    s[2] ^= s[0];
    s[3] ^= s1;
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= s1 << 9;
    s[3] = rotateLeft(s[3], 11);
    return result;
  }

  /** Uniform in [low, high). */
  uniform(low = 0, high = 1): number {
    return low + (high - low) * ((this.int32() >>> 0) / 2 ** 32);
  }

  /** Uniform in the logarithm: as likely to lie in [low, 2 low) as in [high / 2, high). */
  logUniform(low: number, high: number): number {
    return low * Math.exp(this.uniform() * Math.log(high / low));
  }

  /** A member of `items`, each as likely as the others. */
  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.uniform() * items.length)];
  }

  /** A waiting time with the given mean. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.uniform());
  }

  /** A standard normal deviate. */
  gaussian(): number {
    for (;;) {
      const bits = this.int32();
      const layer = bits & (LAYERS - 1);
      const magnitude = bits >> 7;
      const x = magnitude * width[layer];
      if (Math.abs(magnitude) < inside[layer]) return x;
      if (layer === 0) return magnitude > 0 ? this.#tail() : -this.#tail();
      if (density[layer] + this.uniform() * (density[layer - 1] - density[layer]) < Math.exp(-0.5 * x * x)) return x;
    }
  }

  #tail(): number {
    for (;;) {
      const x = -Math.log(1 - this.uniform()) / TAIL;
      const y = -Math.log(1 - this.uniform());
      if (y + y > x * x) return TAIL + x;
    }
  }
}
