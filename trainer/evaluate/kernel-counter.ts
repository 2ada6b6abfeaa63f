/** What TypeScript's library leaves out without a browser's types. */
interface WebAssemblyApi {
  readonly Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
}
const { Memory, Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;

const PAGE = 65536;
const INT = 4;
/** 32-bit lanes of a 128-bit vector. */
const LANES = 4;

/**
 * Counts where a kernel's response is above a bias: the innermost loop of MiniRocket, ten thousand million times for a data set. The same
 * sum in JavaScript takes seven times as long; {@link KernelCounter.response} is that sum, kept as the reference.
 *
 * A response is base[t] + tripled[t + a] + tripled[t + b] + tripled[t + c], in 32-bit whole numbers.
 */
export class KernelCounter {
  /** What all kernels have in common: [window]. */
  readonly base: Int32Array;
  /** Three times the signal, between `margin` zeros on either side: [margin + window + margin]. */
  readonly tripled: Int32Array;
  readonly #margin: number;
  readonly #count: Count;

  constructor(window: number, margin: number) {
    this.#margin = margin;
    const size = (2 * window + 2 * margin) * INT;
    const memory = new Memory({ initial: Math.ceil(size / PAGE) });
    this.base = new Int32Array(memory.buffer, 0, window);
    this.tripled = new Int32Array(memory.buffer, window * INT, window + 2 * margin);
    this.#count = new Instance(new Module(PROGRAM), { io: { memory } }).exports.count as Count;
  }

  /** shifts: where the three places of the kernel lie relative to a sample; bias and responses within 2^30 */
  countAbove(bias: number, [a, b, c]: readonly number[], from: number, to: number): number {
    const whole = to - ((to - from) % LANES);
    const tripled = (this.base.length + this.#margin + from) * INT;
    let count = this.#count(from * INT, tripled + a * INT, tripled + b * INT, tripled + c * INT, whole * INT, bias);
    for (let t = whole; t < to; t++) if (this.response([a, b, c], t) > bias) count++;
    return count;
  }

  response([a, b, c]: readonly number[], t: number): number {
    const at = this.#margin + t;
    return this.base[t] + this.tripled[at + a] + this.tripled[at + b] + this.tripled[at + c];
  }
}

type Count = (base: number, a: number, b: number, c: number, end: number, bias: number) => number;

const I32 = 0x7f;
const V128 = 0x7b;
const text = (value: string) => [value.length, ...Buffer.from(value)];
/** A section or a body: its length in one byte, so at most 127 bytes. */
const sized = (bytes: readonly number[]) => [bytes.length, ...bytes];
const get = (local: number) => [0x20, local];
const set = (local: number) => [0x21, local];
const load = (local: number) => [...get(local), 0xfd, 0x00, 2, 0]; // v128.load, aligned to 4 bytes, offset 0
const SPLAT = [0xfd, 0x11]; // i32x4.splat
const ADD = [0xfd, 0xae, 0x01]; // i32x4.add
const SUB = [0xfd, 0xb1, 0x01]; // i32x4.sub
const GREATER = [0xfd, 0x3b]; // i32x4.gt_s: -1 in every lane where it holds
const lane = (index: number) => [...get(7), 0xfd, 0x1b, index]; // i32x4.extract_lane
const I32_ADD = 0x6a;

/** Locals: 0 base, 1-3 the three shifted signals, 4 end of base, 5 bias, 6 bias in all lanes, 7 counts a lane. */
const BODY: readonly number[] = [
  ...[1, 2, V128], // two locals more
  ...[...get(5), ...SPLAT, ...set(6)],
  ...[0x02, 0x40, 0x03, 0x40], // block, loop
  ...[...get(0), ...get(4), 0x4f, 0x0d, 1], // leave where base >= end (i32.ge_u, br_if)
  ...[...get(7), ...load(0), ...load(1), ...ADD, ...load(2), ...ADD, ...load(3), ...ADD, ...get(6), ...GREATER, ...SUB, ...set(7)],
  ...[0, 1, 2, 3].flatMap((local) => [...get(local), 0x41, 16, I32_ADD, ...set(local)]), // 16 bytes on
  ...[0x0c, 0, 0x0b, 0x0b], // again; end, end
  ...[...lane(0), ...lane(1), I32_ADD, ...lane(2), I32_ADD, ...lane(3), I32_ADD, 0x0b],
];

/** WebAssembly module (core specification 2.0, chapter 5): imports io.memory, exports count(6 x i32) -> i32. */
const PROGRAM = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // "\0asm", version 1
  ...[1, ...sized([1, 0x60, 6, I32, I32, I32, I32, I32, I32, 1, I32])], // types: one function
  ...[2, ...sized([1, ...text('io'), ...text('memory'), 0x02, 0, 1])], // imports: a memory of a page or more
  ...[3, ...sized([1, 0])], // functions: one, of type 0
  ...[7, ...sized([1, ...text('count'), 0x00, 0])], // exports: function 0
  ...[10, ...sized([1, ...sized(BODY)])], // code
]);
