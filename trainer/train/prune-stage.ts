import type { Engine } from '../../models/engine/engine.ts';
import { createNetwork } from '../../models/networks/index.ts';
import { Random } from '../../models/networks/random.ts';
import type { Recording } from '../data/recording-set.ts';
import type { Windows } from '../data/windows.ts';
import { argmaxRows, metricsOf } from '../evaluate/metrics.ts';
import { type Perturbation, perturb } from '../evaluate/robustness.ts';
import { joinWindows } from '../evaluate/sampling.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { PRUNING_LADDER, type PruningPlan, pruneNetwork, unitImportance } from '../shrink/prune.ts';
import { BatchSampler } from './batches.ts';
import { decodeTrained, encodeTrained, parameterCount } from './network-stage.ts';
import { runNetwork } from './run-windows.ts';
import type { Stage } from './stages.ts';
import { crossEntropy, type Distillation, type TrainResult, type TrainSettings, trainNetwork } from './train-network.ts';

/** Small batches tell more of a unit's importance than large ones. */
const IMPORTANCE_BATCH = 16;
const IMPORTANCE_BATCHES = 24;

export interface PruneSettings {
  readonly plans: readonly PruningPlan[];
  /** Steps of recovery training. */
  readonly steps: number;
  /** Balanced accuracy on the strained validation windows that pruning may cost. */
  readonly allowed: number;
}

export const DEFAULT_PRUNING: PruneSettings = { plans: PRUNING_LADDER, steps: 150, allowed: 0.003 };

export interface PruneRequest {
  readonly student: TrainedNetwork;
  readonly recordings: readonly Recording[];
  readonly classes: readonly string[];
  readonly validation: Windows;
  readonly settings: TrainSettings;
  readonly pruning: PruneSettings;
  readonly distillation?: Distillation;
  readonly budgetSeconds?: number;
}

export interface PruneOutcome {
  /** The first network of the ladder that lost no more than allowed; absent where none did. */
  readonly network?: TrainResult;
  /** What each tried plan reached on the strained validation windows. */
  readonly tried: readonly { readonly plan: PruningPlan; readonly accuracy: number; readonly loss: number }[];
  readonly before: { readonly accuracy: number; readonly loss: number };
}

/** Prunes to the first plan that recovers; takes all back where none does. */
export function pruneStage(engine: Engine, request: PruneRequest, inputs: unknown): Stage<PruneOutcome> {
  const { student, recordings, classes, settings, pruning } = request;
  const { teacher: _, ...distilled } = request.distillation ?? {};
  return {
    name: 'prune',
    inputs: [inputs, student.options, settings, pruning, request.budgetSeconds ?? null, distilled],
    async compute({ bar, signal }) {
      const strained = strainedWindows(request.validation, student.options, settings.seed);
      const before = await measure(engine, student, strained);
      const network = createNetwork(student.options);
      const random = new Random(settings.seed);
      const sampler = new BatchSampler(network, recordings, classes, IMPORTANCE_BATCH, { mask: 0, mixup: 0, dropout: 0 }, random, 0);
      const importance = await unitImportance(
        engine,
        student,
        (function* () {
          for (let batch = 0; batch < IMPORTANCE_BATCHES; batch++) yield sampler.next();
        })(),
      );
      const tried: PruneOutcome['tried'][number][] = [];
      for (const [index, plan] of pruning.plans.entries()) {
        const cut = pruneNetwork(student, importance, plan);
        const trained = await trainNetwork(engine, {
          options: cut.options,
          recordings,
          classes,
          settings: { ...settings, steps: pruning.steps, patience: 0 },
          initial: cut.weights,
          distillation: request.distillation,
          validation: request.validation,
          budgetSeconds: request.budgetSeconds,
          signal,
          onProgress: ({ step, steps }) =>
            bar.update((index + step / steps) / pruning.plans.length, `${plan.heads} heads, ${plan.feedForward} units, hop ${plan.hop}`),
        });
        const after = await measure(engine, trained, strained);
        tried.push({ plan, ...after });
        if (after.accuracy >= before.accuracy - pruning.allowed) return { network: trained, tried, before };
      }
      return { tried, before };
    },
    encode: ({ network, tried, before }) => {
      const artifact = network ? encodeTrained(network) : { value: null, vectors: {} };
      return { value: { network: artifact.value, tried, before }, vectors: artifact.vectors };
    },
    decode: ({ value, vectors }) => {
      const { network, tried, before } = value as { network: unknown; tried: PruneOutcome['tried']; before: PruneOutcome['before'] };
      return { ...(network !== null && { network: decodeTrained({ value: network, vectors }) }), tried, before };
    },
    summary: ({ network, tried, before }) => {
      const last = tried.at(-1);
      const accuracies = `strained validation ${(100 * before.accuracy).toFixed(1)} -> ${(100 * (last?.accuracy ?? 0)).toFixed(1)} %`;
      if (!network) return `taken back: ${accuracies}`;
      const share = 1 - parameterCount(network) / parameterCount(student);
      return `${Math.round(100 * share)} % fewer parameters, ${accuracies}`;
    },
  };
}

/**
 * Validation windows as they are, at other speeds, in noise and out of a sensor's range. Windows of the machines and loads that training knows
 * do not show what pruning costs elsewhere: on them a network is right with half of its units gone.
 */
function strainedWindows(windows: Windows, { window, channels }: TrainedNetwork['options'], seed: number): Windows {
  const strains: Perturbation[] = [
    { kind: 'speed', factor: 0.97 },
    { kind: 'speed', factor: 1.03 },
    { kind: 'noise', snrDb: 20 },
    { kind: 'clipping', level: 2 },
  ];
  return joinWindows([windows, ...strains.map((strain) => perturb(windows, [window, channels], strain, seed))]);
}

async function measure(engine: Engine, trained: TrainedNetwork, windows: Windows): Promise<{ accuracy: number; loss: number }> {
  const { logits } = await runNetwork(engine, trained, windows);
  const { classes } = trained.options;
  return {
    accuracy: metricsOf(windows.labels, argmaxRows(logits, classes), classes).balancedAccuracy,
    loss: crossEntropy(logits, windows.labels, classes),
  };
}
