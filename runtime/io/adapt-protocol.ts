import type { ShadowFigures } from '../adapt/guard.ts';
import type { Learned, LearnerExamples } from '../adapt/learner.ts';
import type { RawWindows } from '../adapt/raw-windows.ts';

/** What one adaptation may use. */
export interface LearningBudget {
  /** Of the learning thread, where the system tells; seconds. */
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  /** Share of the time that the thread works; between two steps it rests for the remainder. */
  readonly workShare: number;
}

/** What the gateway's thread asks of the learning thread; each is answered once, in order. */
export type ToLearner =
  /** What is under way fails with the next step. */
  | { readonly kind: 'stop' }
  | { readonly kind: 'start'; readonly bundleFolder: string; readonly engine: 'onnxruntime' | 'wasm'; readonly wasmFolder: string }
  | {
      readonly kind: 'learn';
      readonly examples: LearnerExamples;
      readonly anchors: RawWindows;
      readonly current: Float32Array | undefined;
      readonly budget: LearningBudget;
    }
  | {
      readonly kind: 'compare';
      readonly windows: RawWindows;
      readonly current: Float32Array | undefined;
      readonly candidate: Float32Array;
      readonly contested: readonly boolean[];
    };

export interface LearningSeconds {
  readonly wall: number;
  readonly cpu?: number;
}

export type FromLearner =
  | { readonly kind: 'ready'; readonly digest: string; readonly lowPriority: boolean }
  | { readonly kind: 'learned'; readonly learned: Learned; readonly seconds: LearningSeconds }
  | { readonly kind: 'compared'; readonly figures: ShadowFigures }
  | { readonly kind: 'failed'; readonly reason: string };

export type LearnerAnswer<K extends FromLearner['kind']> = Extract<FromLearner, { kind: K }>;
