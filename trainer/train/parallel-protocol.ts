import type { Part, PartShape } from './accumulate-parts.ts';
import type { EngineName } from './engines.ts';

/** A tensor of float32 in memory that all threads see. */
export interface SharedTensor {
  readonly shape: readonly number[];
  readonly buffer: SharedArrayBuffer;
}

/** What the training thread tells a worker. Numbers travel in shared memory; messages only say that they are there. */
export type ToTrainingWorker =
  | {
      readonly kind: 'start';
      readonly engine: EngineName;
      /** Folder of the engines' files, as a URL with a closing slash. */
      readonly programs: string;
      /** A graph made by traceGradient for one micro-batch. */
      readonly graph: Uint8Array;
      readonly shape: PartShape;
      /** [P] */
      readonly trainable: SharedArrayBuffer;
      /** [parts, P]: one row a micro-batch, so that who computed it does not matter. */
      readonly gradients: SharedArrayBuffer;
    }
  /** Where the inputs of whole batches will lie. */
  | { readonly kind: 'inputs'; readonly inputs: Readonly<Record<string, SharedTensor>> }
  /** `step` tells a new trainable vector from the last one. */
  | { readonly kind: 'run'; readonly step: number; readonly part: Part }
  /** After the part under way. */
  | { readonly kind: 'stop' };

export type FromTrainingWorker = { readonly kind: 'ready' } | { readonly kind: 'done'; readonly part: number; readonly loss: number };
