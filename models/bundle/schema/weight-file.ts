import type { Graph } from '../../trace/graph.ts';
import { rawBytes } from '../../trace/raw-bytes.ts';

/** Smaller constants stay in the graph: a reference to the weight file would be longer than they are. */
const SMALLEST = 96;
/** onnxruntime reads a tensor in place only where it is aligned. */
const ALIGNMENT = 8;

/** Collects the constants of several graphs into one file, each content once: the int8 weights serve inference and adaptation alike. */
export class WeightFile {
  readonly location: string;
  readonly #offsets = new Map<string, number>();
  readonly #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(location: string) {
    this.location = location;
  }

  /** Moves the constants of `graph` out of it. */
  take(graph: Graph): void {
    for (const initializer of graph.initializers.values()) {
      const bytes = rawBytes(initializer.values);
      // Shapes and sizes are read while the graph is checked, before external data are there.
      if (bytes.length < SMALLEST || initializer.type === 'int64') continue;
      initializer.external = { location: this.location, offset: this.#place(bytes) };
    }
  }

  #place(bytes: Uint8Array): number {
    let key = '';
    for (const byte of bytes) key += String.fromCharCode(byte);
    const known = this.#offsets.get(key);
    if (known !== undefined) return known;
    const offset = this.#length;
    const padded = new Uint8Array(Math.ceil(bytes.length / ALIGNMENT) * ALIGNMENT);
    padded.set(bytes);
    this.#chunks.push(padded);
    this.#length += padded.length;
    this.#offsets.set(key, offset);
    return offset;
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#length);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }
}
