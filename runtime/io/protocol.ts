import type { DualStatus } from '../contracts/messages.ts';
import { type DualMode, SWITCH_CAUSES } from '../decide/dual-state.ts';
import type { StreamMemoryShape } from '../stream/stream-memory.ts';

/** Windows in one run of the model at the most. */
export const LARGEST_BATCH = 64;

/** Rows that windows name in their jobs. */
export type Bank = 'reference' | 'adapter';

/** What the gateway's thread sends the inference thread. */
export type ToWorker =
  | {
      readonly kind: 'start';
      readonly bundleFolder: string;
      readonly shape: StreamMemoryShape;
      readonly memory: SharedArrayBuffer;
      readonly jobs: SharedArrayBuffer;
      readonly engine: 'onnxruntime' | 'wasm';
      readonly wasmFolder: string;
      /** An adapter on trial, a safetensors file: the known answers are asked with it too. */
      readonly adapter?: Uint8Array;
    }
  /** From now on this thread has time only when no other wants it. */
  | { readonly kind: 'background' }
  /** Runs the first `count` windows that lie in the shared jobs. */
  | { readonly kind: 'run'; readonly count: number }
  /** Writes a row of a bank: of references [R], or of adapters [P] as `bankRow` makes them. */
  | { readonly kind: 'row'; readonly bank: Bank; readonly row: number; readonly values: Float32Array }
  | { readonly kind: 'stop' };

export type FromWorker =
  | {
      readonly kind: 'ready';
      readonly engine: { readonly name: string; readonly version: string };
      /** Digest of the bundle that this thread read, proved by its known answers. */
      readonly digest: string;
      readonly largestAnswerError: number;
      readonly results: SharedArrayBuffer;
      readonly resultShape: ResultShape;
    }
  /** The results lie in the shared buffer. `failure`: no model answered, no window was decided. */
  | { readonly kind: 'done'; readonly count: number; readonly runMs: number; readonly failure?: string }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

/** Numbers of one job: stream, end, adapter, reference. */
const JOB_NUMBERS = 4;

/** The windows of the next run, in one shared buffer: written before a `run` is sent, read before it is answered. */
export class JobMemory {
  readonly buffer: SharedArrayBuffer;
  readonly #numbers: Uint32Array;
  /** Physical units a code, [LARGEST_BATCH, channels]. */
  readonly scales: Float32Array;
  readonly #channels: number;

  constructor(channels: number, buffer?: SharedArrayBuffer) {
    const numbers = LARGEST_BATCH * JOB_NUMBERS;
    this.buffer = buffer ?? new SharedArrayBuffer(4 * (numbers + LARGEST_BATCH * channels));
    this.#numbers = new Uint32Array(this.buffer, 0, numbers);
    this.scales = new Float32Array(this.buffer, 4 * numbers, LARGEST_BATCH * channels);
    this.#channels = channels;
  }

  write(row: number, stream: number, end: number, adapter: number, reference: number, scales: Float32Array): void {
    const at = JOB_NUMBERS * row;
    this.#numbers[at] = stream;
    this.#numbers[at + 1] = end;
    this.#numbers[at + 2] = adapter;
    this.#numbers[at + 3] = reference;
    this.scales.set(scales, row * this.#channels);
  }

  stream(row: number): number {
    return this.#numbers[JOB_NUMBERS * row];
  }

  end(row: number): number {
    return this.#numbers[JOB_NUMBERS * row + 1];
  }

  adapter(row: number): number {
    return this.#numbers[JOB_NUMBERS * row + 2];
  }

  reference(row: number): number {
    return this.#numbers[JOB_NUMBERS * row + 3];
  }
}

/** State of a window in the shared results. */
export const RESULT = { decided: 0, overrun: 1, notFinite: 2 } as const;

/** Which network answered a window. */
export const MODEL = { primary: 0, backup: 1 } as const;

export interface ResultShape {
  readonly classes: number;
  /** Numbers of a reference, R; 0 where the graph takes none. */
  readonly features: number;
  /** Numbers of an embedding, E; 0 where the graph gives none. */
  readonly embedding: number;
  /** Whether the graph measures novelty. */
  readonly novelty: boolean;
  /** Whether the bundle has a back-up. */
  readonly dual: boolean;
}

const MODES: readonly DualMode[] = ['primary', 'suspect', 'backup'];
/** Counters of the two models, after the mode. */
const COUNTERS = [...SWITCH_CAUSES, 'returns', 'decidedByBackup', 'compared', 'differed', 'backupFailures'] as const;
export type DualCounter = (typeof COUNTERS)[number];

/** What the models gave for each window of the last run, and how the two models stand, in one shared buffer. */
export class ResultMemory {
  readonly buffer: SharedArrayBuffer;
  readonly shape: ResultShape;
  /** [LARGEST_BATCH, classes] */
  readonly probabilities: Float32Array;
  /** [LARGEST_BATCH, R] */
  readonly features: Float32Array;
  /** [LARGEST_BATCH, E] */
  readonly embedding: Float32Array;
  /** [LARGEST_BATCH] */
  readonly novelty: Float32Array;
  readonly states: Uint8Array;
  readonly models: Uint8Array;
  readonly #dual: Uint32Array;

  constructor(shape: ResultShape, buffer?: SharedArrayBuffer) {
    const { classes, features, embedding } = shape;
    const words = LARGEST_BATCH * (classes + features + embedding + 1);
    const dual = 1 + COUNTERS.length;
    this.shape = shape;
    this.buffer = buffer ?? new SharedArrayBuffer(4 * (words + dual) + 2 * LARGEST_BATCH);
    let at = 0;
    const next = (width: number) => {
      const rows = new Float32Array(this.buffer, at, LARGEST_BATCH * width);
      at += rows.byteLength;
      return rows;
    };
    this.probabilities = next(classes);
    this.features = next(features);
    this.embedding = next(embedding);
    this.novelty = next(1);
    this.#dual = new Uint32Array(this.buffer, 4 * words, dual);
    this.states = new Uint8Array(this.buffer, 4 * (words + dual), LARGEST_BATCH);
    this.models = new Uint8Array(this.buffer, 4 * (words + dual) + LARGEST_BATCH, LARGEST_BATCH);
  }

  setMode(mode: DualMode): void {
    this.#dual[0] = MODES.indexOf(mode);
  }

  count(counter: DualCounter, more = 1): void {
    this.#dual[1 + COUNTERS.indexOf(counter)] += more;
  }

  /** undefined where the bundle has no back-up */
  dualStatus(): DualStatus | undefined {
    if (!this.shape.dual) return undefined;
    const of = (counter: DualCounter) => this.#dual[1 + COUNTERS.indexOf(counter)];
    return {
      mode: MODES[this.#dual[0]],
      switches: { threw: of('threw'), notFinite: of('notFinite'), slow: of('slow'), disagreed: of('disagreed') },
      returns: of('returns'),
      decidedByBackup: of('decidedByBackup'),
      compared: of('compared'),
      differed: of('differed'),
      backupFailures: of('backupFailures'),
    };
  }
}
