import type { Engine } from '../../models/engine/engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import type { Recording } from '../data/recording-set.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { type Recipe, trainRecipe } from './candidates.ts';
import type { Artifact, Stage, StageContext } from './stages.ts';
import {
  type Checkpoint,
  type CurvePoint,
  type TrainRequest,
  type TrainResult,
  type TrainSettings,
  type TrainState,
  trainNetwork,
} from './train-network.ts';

/** A trained network as a stage keeps it. */
export function encodeTrained({ weights, ...rest }: TrainResult): Artifact {
  return { value: rest, vectors: { ...weights } };
}

export function decodeTrained({ value, vectors }: Artifact): TrainResult {
  const rest = value as Omit<TrainResult, 'weights'>;
  return { ...rest, weights: { parameters: vectors.parameters, statistics: vectors.statistics } };
}

/** A stage's checkpoint in terms of a training. */
function trainingCheckpoint({ checkpoint }: StageContext): Checkpoint {
  return {
    async load() {
      const kept = await checkpoint.read();
      if (!kept) return undefined;
      const { steps, done, curve, lossSum, random } = kept.value as {
        steps: number;
        done: number;
        curve: CurvePoint[];
        lossSum: number;
        random: number[];
      };
      const { trainable, firstMoment, secondMoment, average } = kept.vectors;
      const state: TrainState = {
        optimizer: { trainable, firstMoment, secondMoment, steps: done },
        average,
        random: Uint32Array.from(random),
        steps,
        curve,
        lossSum,
      };
      return state;
    },
    save: ({ optimizer, average, random, steps, curve, lossSum }) => {
      const { steps: done, ...vectors } = optimizer;
      return checkpoint.write({ value: { steps, done, curve, lossSum, random: [...random] }, vectors: { ...vectors, average } });
    },
  };
}

/** A stage that trains one network. @param inputs all that decides the result beside the settings: keys of earlier stages */
export function trainingStage(
  name: string,
  engine: Engine,
  request: Omit<TrainRequest, 'checkpoint' | 'onProgress' | 'signal'>,
  inputs: unknown,
): Stage<TrainResult> {
  const { options, classes, settings, budgetSeconds, distillation } = request;
  const { teacher: _, ...distilled } = distillation ?? {};
  return {
    name,
    inputs: [inputs, options, classes, settings, budgetSeconds ?? null, distilled, request.division ?? null],
    compute: (context) =>
      trainNetwork(engine, {
        ...request,
        checkpoint: trainingCheckpoint(context),
        signal: context.signal,
        onProgress: ({ step, steps, loss }) => context.bar.update(step / steps, `step ${step} of ${steps}, loss ${loss.toFixed(3)}`),
      }),
    encode: encodeTrained,
    decode: decodeTrained,
    summary: ({ steps, stoppedEarly, curve, peakRssBytes }) => {
      const accuracy = curve.at(-1)?.validationAccuracy;
      const early = stoppedEarly ? ' (no better any more)' : '';
      const validated = accuracy === undefined ? '' : `, validation ${(100 * accuracy).toFixed(1)} %`;
      return `${steps} steps${early}${validated}, ${Math.round(peakRssBytes / 2 ** 20)} MiB`;
    },
  };
}

/** A stage that solves one linear network. @param inputs all that decides the result beside the recipe: keys of earlier stages */
export function solvedStage(
  name: string,
  engine: Engine,
  recipe: Recipe,
  recordings: readonly Recording[],
  classes: readonly string[],
  { settings, stride }: { settings: TrainSettings; stride: number },
  inputs: unknown,
): Stage<TrainResult> {
  return {
    name,
    inputs: [inputs, recipe],
    compute: async ({ bar, signal }) => {
      const trained = await trainRecipe(engine, recipe, recordings, classes, settings, {
        stride,
        signal,
        onProgress: (done) => bar.update(done),
      });
      return { ...trained, curve: [], steps: 0, stoppedEarly: false, peakRssBytes: process.memoryUsage.rss() };
    },
    encode: encodeTrained,
    decode: decodeTrained,
    summary: () => recipe.name,
  };
}

export function parameterCount({ options }: Pick<TrainedNetwork, 'options'>): number {
  return createNetwork(options).parameters.size;
}
