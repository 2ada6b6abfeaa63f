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
import { BatchSampler, NO_AUGMENTATION } from './batches.ts';
import { decodeTrained, encodeTrained, parameterCount } from './network-stage.ts';
import { runNetwork } from './run-windows.ts';
import type { Stage } from './stages.ts';
import { crossEntropy, type Distillation, type TrainResult, type TrainSettings, trainNetwork } from './train-network.ts';

/** Small batches tell more of a unit's importance than large ones. */
const IMPORTANCE_BATCH = 16;
const IMPORTANCE_BATCHES = 24;

/** Share of the learning rate that recovery begins with: what is left is nearly right. */
const RECOVERY_RATE = 0.5;

export interface PruneSettings {
  readonly plans: readonly PruningPlan[];
  /** Steps of recovery training. */
  readonly steps: number;
  /** Balanced accuracy on the strained validation windows that pruning may cost. */
  readonly allowed: number;
}

export const DEFAULT_PRUNING: PruneSettings = { plans: PRUNING_LADDER, steps: 150, allowed: 0.001 };

export interface PruneRequest {
  readonly student: TrainedNetwork;
  readonly recordings: readonly Recording[];
  readonly classes: readonly string[];
  /** What pruning is held against; without it the first plan is taken as it comes. */
  readonly validation?: Windows;
  readonly settings: TrainSettings;
  readonly pruning: PruneSettings;
  readonly distillation?: Distillation;
  readonly budgetSeconds?: number;
}

export interface PruneOutcome {
  /** The first network of the ladder that lost no more than allowed, and its plan; absent where none did. */
  readonly network?: TrainResult;
  readonly plan?: PruningPlan;
  /** What each tried plan reached on the strained validation windows. */
  readonly tried: readonly { readonly plan: PruningPlan; readonly accuracy: number; readonly loss: number }[];
  readonly before?: { readonly accuracy: number; readonly loss: number };
}

/** Prunes to the first plan that recovers; takes all back where none does. */
export function pruneStage(name: string, engine: Engine, request: PruneRequest, inputs: unknown): Stage<PruneOutcome> {
  const { student, recordings, classes, settings, pruning } = request;
  const { teacher: _, ...distilled } = request.distillation ?? {};
  return {
    name,
    inputs: [inputs, student.options, settings, pruning, request.budgetSeconds ?? null, distilled],
    async compute({ bar, signal }) {
      const strained = request.validation && strainedWindows(request.validation, student.options, settings.seed);
      const before = strained && (await measure(engine, student, strained));
      const network = createNetwork(student.options);
      const random = new Random(settings.seed);
      const sampler = new BatchSampler(network, recordings, classes, IMPORTANCE_BATCH, NO_AUGMENTATION, random, 0);
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
          settings: { ...settings, steps: pruning.steps, learningRate: settings.learningRate * RECOVERY_RATE, patience: 0 },
          initial: cut.weights,
          distillation: request.distillation,
          validation: request.validation,
          budgetSeconds: request.budgetSeconds,
          signal,
          onProgress: ({ step, steps }) =>
            bar.update((index + step / steps) / pruning.plans.length, `${plan.heads} heads, ${plan.feedForward} units, hop ${plan.hop}`),
        });
        if (!strained || !before) return { network: trained, plan, tried };
        const after = await measure(engine, trained, strained);
        tried.push({ plan, ...after });
        if (after.accuracy >= before.accuracy - pruning.allowed) return { network: trained, plan, tried, before };
      }
      return { tried, before };
    },
    encode: ({ network, ...rest }) => {
      const artifact = network ? encodeTrained(network) : { value: null, vectors: {} };
      return { value: { ...rest, network: artifact.value }, vectors: artifact.vectors };
    },
    decode: ({ value, vectors }) => {
      const { network, ...rest } = value as Omit<PruneOutcome, 'network'> & { network: unknown };
      return { ...rest, ...(network !== null && { network: decodeTrained({ value: network, vectors }) }) };
    },
    summary: ({ network, tried, before }) => {
      const last = tried.at(-1);
      const accuracies =
        before && last ? `, strained validation ${(100 * before.accuracy).toFixed(1)} -> ${(100 * last.accuracy).toFixed(1)} %` : '';
      if (!network) return `taken back${accuracies}`;
      const share = 1 - parameterCount(network) / parameterCount(student);
      return `${Math.round(100 * share)} % fewer parameters${accuracies}`;
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
