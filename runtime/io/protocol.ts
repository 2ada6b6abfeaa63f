import type { StreamMemoryShape } from '../stream/stream-memory.ts';

/** Windows in one run of the model at the most. */
export const LARGEST_BATCH = 64;

/** What the gateway's thread sends the inference thread. */
export type ToWorker =
  | {
      readonly kind: 'start';
      readonly bundleFolder: string;
      readonly shape: StreamMemoryShape;
      readonly memory: SharedArrayBuffer;
      readonly results: SharedArrayBuffer;
      readonly engine: 'onnxruntime' | 'wasm';
      readonly wasmFolder: string;
    }
  /** `jobs`: stream, end, adapter of each window, one after the other. `scales`: those of its channels, likewise. */
  | { readonly kind: 'run'; readonly jobs: Uint32Array; readonly scales: Float32Array }
  | { readonly kind: 'stop' };

export type FromWorker =
  | {
      readonly kind: 'ready';
      readonly engine: { readonly name: string; readonly version: string };
      /** Digest of the bundle that this thread read, proved by its known answers. */
      readonly digest: string;
      readonly largestAnswerError: number;
    }
  /** The results lie in the shared buffer. `failure`: the engine threw, no window was decided. */
  | { readonly kind: 'done'; readonly count: number; readonly runMs: number; readonly failure?: string }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

/** State of a window in the shared results. */
export const RESULT = { decided: 0, overrun: 1, notFinite: 2 } as const;

/** Probabilities [LARGEST_BATCH, classes] and a state for each window, in one shared buffer. */
export class ResultMemory {
  readonly buffer: SharedArrayBuffer;
  readonly probabilities: Float32Array;
  readonly states: Uint8Array;

  constructor(classes: number, buffer?: SharedArrayBuffer) {
    const numbers = LARGEST_BATCH * classes;
    this.buffer = buffer ?? new SharedArrayBuffer(4 * numbers + LARGEST_BATCH);
    this.probabilities = new Float32Array(this.buffer, 0, numbers);
    this.states = new Uint8Array(this.buffer, 4 * numbers, LARGEST_BATCH);
  }
}
