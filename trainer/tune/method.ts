import type { AdapterScheme } from '../../models/adapters/scheme.ts';
import type { Bundle } from '../../models/bundle/bundle.ts';
import type { Engine } from '../../models/engine/engine.ts';
import type { Network } from '../../models/networks/network.ts';
import type { NetworkWeights } from '../../models/training/trace-training.ts';
import type { Abortable } from '../../runtime/adapt/adaptation.ts';
import type { LabelledFeatures } from '../../runtime/adapt/labelled-features.ts';
import type { Deployment } from './decider.ts';

export const METHOD_NAMES = ['statistics', 'prototypes', 'head', 'lora', 'prefix', 'full'] as const;
export type MethodName = (typeof METHOD_NAMES)[number];

export interface TuneSettings {
  /** Of `lora`; those of the bundle's own scheme where absent. */
  readonly rank?: number;
  readonly alpha?: number;
  readonly targets?: readonly string[];
  /** Keys and values a layer, of `prefix`. */
  readonly prefixLength: number;
  /** Of every method that takes steps. */
  readonly steps: number;
  readonly seed: number;
}

/** What every method may use. */
export interface TuneContext {
  readonly engine: Engine;
  /** Read with its parts core, adapt and server. */
  readonly bundle: Bundle;
  readonly network: Network;
  /** The bundle's float base. */
  readonly base: NetworkWeights;
  /** Windows of the target without their labels, [count, F]. */
  readonly unlabelled: Float32Array;
  /** How many of these windows each class has; a guard asks, no method learns from it. */
  readonly balance: readonly number[];
  readonly settings: TuneSettings;
  readonly signal?: Abortable;
}

/** A network after tuning, and what it cost. */
export interface Tuned extends Deployment {
  /** Numbers that were trained or measured anew. */
  readonly trainable: number;
  /** Bytes that must travel to a machine that has the base. */
  readonly adapterBytes: number;
}

/** One way to adapt a trained network to another machine or condition. */
export interface TuneMethod {
  readonly name: MethodName;
  /** One line for people. */
  readonly summary: string;
  /** Why the method cannot work on this bundle at all, if so. */
  impossible?(context: TuneContext): string | undefined;
  /** Why the method must not be chosen without a person's word, if so. */
  unsafe?(context: TuneContext): string | undefined;
  /**
   * @param shots labelled windows of the target
   * @param replay windows of what the network knew
   */
  tune(context: TuneContext, shots: LabelledFeatures, replay: LabelledFeatures): Promise<Tuned>;
}

/** Whether adapters of `scheme` are rows of this bundle's bank. */
export function fitsBank({ manifest }: Bundle, scheme: AdapterScheme): boolean {
  const sorted = (value: object) => JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  return sorted(manifest.adapter) === sorted(scheme);
}
