import { createNetwork } from '../../models/networks/index.ts';
import { LINEAR } from '../../models/networks/linear-network.ts';
import { BACKUP } from '../../models/networks/mixer-network.ts';
import { fitTemperature, softmaxRows } from '../evaluate/calibration.ts';
import { errorDifference } from '../evaluate/dual-model.ts';
import { argmaxRows, metricsOf } from '../evaluate/metrics.ts';
import { perturbed } from '../evaluate/robustness.ts';
import { balancedSample, joinWindows } from '../evaluate/sampling.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { type Recipe, shaped, trainRecipe } from './candidates.ts';
import { solvedStage, trainingStage } from './network-stage.ts';
import { runNetwork } from './run-windows.ts';
import { trainSettings } from './settings.ts';
import type { StageOutcome } from './stages.ts';
import type { Distillation, TrainResult } from './train-network.ts';
import { WINDOW, type Workspace } from './workspace.ts';

/** What a back-up may be. Where modulation tells too little, the log spectrum is better than nothing. */
const BACKUPS: readonly Recipe[] = [
  { name: 'mixer on the modulation', network: BACKUP, training: {} },
  { name: 'ridge on the log spectrum', network: LINEAR, training: {} },
];

/**
 * A trained back-up is drawn to where the primary sees least, by so much of its targets (negative correlation learning, Liu and Yao 1999; of all
 * wrong classes, Pang et al. 2019). Of a width of 24 on cwru12, load 3 unseen, the difference rises from .23 to .32 for two points of its own accuracy.
 */
const AVERSION = { temperature: 1, weight: 0.4, embedding: 0 } as const;

/** A back-up must be no further below the best one, in balanced accuracy on disturbed validation windows. */
const USEFUL = 0.1;
/** Differences that are alike: then the better back-up is taken. */
const ALIKE = 0.01;
/** Validation windows that are disturbed in every way. */
const CHOICE_WINDOWS = 200;

interface BackupScore {
  readonly name: string;
  readonly difference: number;
  readonly balancedAccuracy: number;
}

export interface BackupChoice {
  /** Index of the recipe. */
  readonly best: number;
  /** Divides its logits. */
  readonly temperature: number;
  readonly scores: readonly BackupScore[];
}

/** The networks that a back-up shall differ from: as rehearsed, with its temperature, and as deployed. */
export interface Primaries {
  readonly rehearsed: TrainedNetwork;
  readonly temperature: number;
  readonly deployed: TrainedNetwork;
  /** Keys of the stages that made them. */
  readonly keys: readonly (string | null)[];
}

/**
 * Chooses a back-up by how differently it errs from the rehearsed primary on disturbed validation windows, and trains it on both parts. Its
 * temperature lies in its head.
 *
 * @param budgetSeconds for all training steps
 */
export async function trainBackup(
  workspace: Workspace,
  primaries: Primaries,
  budgetSeconds: number | undefined,
): Promise<{ choice: StageOutcome<BackupChoice>; backup: StageOutcome<TrainResult> }> {
  const { engine, stages, recordings, classes, dataKey, request, stride } = workspace;
  const choice = await chooseBackup(workspace, primaries, budgetSeconds && budgetSeconds / 2);
  const { best, temperature } = choice.result;
  const recipe = BACKUPS[best];
  const both = [...recordings.train, ...recordings.validation];
  const settings = trainSettings(recipe.training, request.choices.student, request.choices.seed);
  const trained = await stages.run(
    recipe.network.kind === 'linear'
      ? solvedStage('back-up', engine, recipe, both, classes, { settings, stride }, dataKey)
      : trainingStage(
          'back-up',
          engine,
          {
            options: shaped(recipe.network, both, classes),
            recordings: both,
            classes,
            settings,
            distillation: aversionTo(primaries.deployed),
            budgetSeconds: budgetSeconds && budgetSeconds / 2,
          },
          [dataKey, primaries.keys],
        ),
  );
  return { choice, backup: { ...trained, result: { ...trained.result, ...withHead(trained.result, 1 / temperature) } } };
}

function chooseBackup(
  workspace: Workspace,
  { rehearsed, temperature, keys }: Primaries,
  budgetSeconds: number | undefined,
): Promise<StageOutcome<BackupChoice>> {
  const { engine, stages, recordings, windows, classes, channels, dataKey, request, stride, signal } = workspace;
  const { student, seed, choose } = request.choices;
  const recipes = choose ? BACKUPS : BACKUPS.slice(0, 1);
  return stages.run<BackupChoice>({
    name: 'back-up (choice)',
    inputs: [dataKey, recipes, AVERSION, keys, student, seed, budgetSeconds ?? null],
    compute: async ({ bar }) => {
      const sample = balancedSample(windows.validation, CHOICE_WINDOWS);
      const disturbed = joinWindows([
        sample,
        ...perturbed(sample, [WINDOW, channels.length], seed).map(({ windows: changed }) => changed()),
      ]);
      const { labels } = disturbed;
      const logitsOf = async (trained: TrainedNetwork, some = disturbed) => (await runNetwork(engine, trained, some)).logits;
      const own = softmaxRows(await logitsOf(rehearsed), classes.length, temperature);
      const tried: (BackupScore & { temperature: number })[] = [];
      for (const [index, recipe] of recipes.entries()) {
        const trained = await trainRecipe(engine, recipe, recordings.train, classes, trainSettings(recipe.training, student, seed), {
          stride,
          signal,
          budgetSeconds,
          distillation: aversionTo(rehearsed),
          onProgress: (share) => bar.update((index + share) / recipes.length, recipe.name),
        });
        const fitted = fitTemperature(await logitsOf(trained, windows.validation), windows.validation.labels, classes.length);
        const other = softmaxRows(await logitsOf(trained), classes.length, fitted);
        const { balancedAccuracy } = metricsOf(labels, argmaxRows(other, classes.length), classes.length);
        tried.push({ name: recipe.name, difference: errorDifference(own, other, labels), balancedAccuracy, temperature: fitted });
      }
      const best = pickBackup(tried);
      return { best, temperature: tried[best].temperature, scores: tried };
    },
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as BackupChoice,
    summary: ({ scores, best }) => `${scores[best].name} (differences ${scores.map(({ difference }) => difference.toFixed(2)).join(', ')})`,
  });
}

/** Of those that are nearly as good as the best, the one that errs most differently. @returns its index */
export function pickBackup(scores: readonly Omit<BackupScore, 'name'>[]): number {
  const most = Math.max(...scores.map(({ balancedAccuracy }) => balancedAccuracy));
  const useful = [...scores.keys()].filter((index) => scores[index].balancedAccuracy >= most - USEFUL);
  const widest = Math.max(...useful.map((index) => scores[index].difference));
  const different = useful.filter((index) => scores[index].difference >= widest - ALIKE);
  return different.reduce((best, index) => (scores[index].balancedAccuracy > scores[best].balancedAccuracy ? index : best));
}

/** Soft targets on the classes that a primary holds for least likely; none where it decides on what features say beside a machine's reference. */
function aversionTo(primary: TrainedNetwork): Distillation | undefined {
  return createNetwork(primary.options).reference ? undefined : { ...AVERSION, teacher: withHead(primary, -1) };
}

/** The network with all its logits times a factor. */
function withHead({ options, weights }: TrainedNetwork, factor: number): TrainedNetwork {
  const layout = createNetwork(options).parameters;
  const parameters = weights.parameters.slice();
  for (const name of ['head.weight', 'head.bias']) {
    const values = layout.view(parameters, name);
    for (let index = 0; index < values.length; index++) values[index] *= factor;
  }
  return { options, weights: { ...weights, parameters } };
}
