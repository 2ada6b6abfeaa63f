import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { AttentionNetworkOptions } from '../../models/networks/attention-network.ts';
import { TEACHER } from '../../models/networks/attention-network.ts';
import { BACKUP } from '../../models/networks/mixer-network.ts';
import { validationFolds } from '../data/split.ts';
import type { TrainedNetwork } from '../release/base.ts';
import { chooseRecipe, RECIPES, type Recipe, type RecipeScore, shaped, trainRecipe } from './candidates.ts';
import { decodeTrained, encodeTrained, trainingStage } from './network-stage.ts';
import { DEFAULT_PRUNING, type PruneOutcome, pruneStage } from './prune-stage.ts';
import { searchRecipe } from './recipe-search.ts';
import { distillationSettings, trainSettings } from './settings.ts';
import { cacheFolder, type StageOutcome } from './stages.ts';
import type { Division, TrainResult, TrainSettings } from './train-network.ts';
import type { Workspace } from './workspace.ts';

/** Shares of `--budget` that the stages get. */
const BUDGET = { choose: 0.2, teacher: 0.42, student: 0.23, backup: 0.05, prune: 0.1 };

/** The networks of a training, from the first to the one that decides. */
export interface NetworkLine {
  readonly recipe: Recipe;
  readonly choice: StageOutcome<RecipeChoice>;
  readonly teacher?: StageOutcome<TrainResult>;
  readonly student: StageOutcome<TrainResult>;
  readonly prune?: StageOutcome<PruneOutcome>;
  readonly backup: StageOutcome<TrainResult>;
  /** Float weights of what decides: pruned where pruning held, else the student. */
  readonly primary: TrainedNetwork;
}

export interface RecipeChoice {
  readonly recipe: Recipe;
  /** What was tried, in order; empty where nothing was. */
  readonly scores: readonly RecipeScore[];
}

function budgetOf({ request }: Workspace, share: number): number | undefined {
  return request.choices.budget && request.choices.budget * share;
}

function studentSettings({ request: { choices } }: Workspace, recipe: Recipe): TrainSettings {
  return trainSettings(recipe.training, choices.student, choices.seed);
}

function divisionOf({ request: { choices } }: Workspace): Division {
  return { engineName: choices.engine, workers: choices.workers, memoryBytes: choices.memory };
}

/** Chooses a recipe on the training part and trains all networks by it. */
export async function trainLine(workspace: Workspace): Promise<NetworkLine> {
  const choice = await choose(workspace);
  const { recipe } = choice.result;
  const backup = () => trainBackup(workspace, recipe.network.kind === 'attention' ? recipe : RECIPES[0]);
  const options = shaped(recipe.network, workspace.recordings.train, workspace.classes);
  if (options.kind !== 'attention') {
    const student = await solve(workspace, recipe);
    return { recipe, choice, student, primary: student.result, backup: await backup() };
  }
  const teacher = await trainTeacher(workspace, recipe, options);
  const student = await trainStudent(workspace, recipe, options, teacher);
  const prune = await pruneStudent(workspace, recipe, student, teacher);
  const primary = prune?.result.network ?? student.result;
  return { recipe, choice, teacher, student, prune, primary, backup: await backup() };
}

async function choose(workspace: Workspace): Promise<StageOutcome<RecipeChoice>> {
  const { engine, stages, split, request, classes, read, signal, dataKey } = workspace;
  const { choices } = request;
  const inputs = [dataKey, request.split, RECIPES, choices.choose, choices.student, choices.seed, choices.search, choices.budget ?? null];
  const settingsOf = (recipe: Recipe) => studentSettings(workspace, recipe);
  return stages.run<RecipeChoice>({
    name: 'choose',
    inputs,
    async compute({ bar }): Promise<RecipeChoice> {
      if (!choices.choose && choices.search === 0) return { recipe: RECIPES[0], scores: [] };
      const folds = [];
      for (const { train, validation } of validationFolds(split, request.split)) {
        folds.push({ train: await read(train), validation: await read(validation) });
      }
      if (choices.search > 0) {
        const file = join(cacheFolder(), `search-${createHash('sha256').update(JSON.stringify(inputs)).digest('hex').slice(0, 24)}.jsonl`);
        const { recipe, score } = await searchRecipe(engine, {
          trials: choices.search,
          seed: choices.seed,
          file,
          folds,
          classes,
          settingsOf,
          onTrial: ({ asked, trials, best }) =>
            bar.update(asked / trials, `trial ${asked} of ${trials}, best ${best?.score?.toFixed(4) ?? '-'}`),
          signal,
        });
        return { recipe, scores: [{ name: recipe.name, folds: [], mean: score }] };
      }
      const { scores, best } = await chooseRecipe(engine, RECIPES, folds, classes, settingsOf, {
        budgetSeconds: budgetOf(workspace, BUDGET.choose),
        onProgress: (share, note) => bar.update(share, note),
        signal,
      });
      return { recipe: RECIPES[best], scores };
    },
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as RecipeChoice,
    summary: ({ recipe, scores }) =>
      `${recipe.name}${scores.length > 0 ? ` (validation: ${scores.map(({ mean }) => `${(100 * mean).toFixed(1)} %`).join(', ')})` : ''}`,
  });
}

/** A recipe that is solved, not trained. */
function solve(workspace: Workspace, recipe: Recipe): Promise<StageOutcome<TrainResult>> {
  const { engine, stages, recordings, classes, signal, dataKey } = workspace;
  const options = shaped(recipe.network, recordings.train, classes);
  return stages.run({
    name: 'student',
    inputs: [dataKey, options],
    compute: async ({ bar }) => {
      const settings = studentSettings(workspace, recipe);
      const trained = await trainRecipe(engine, options, recordings.train, classes, settings, {
        signal,
        onProgress: (done) => bar.update(done),
      });
      return { ...trained, curve: [], steps: 0, stoppedEarly: false, peakRssBytes: process.memoryUsage.rss() };
    },
    encode: encodeTrained,
    decode: decodeTrained,
    summary: () => recipe.name,
  });
}

async function trainTeacher(
  workspace: Workspace,
  recipe: Recipe,
  { tokens }: AttentionNetworkOptions,
): Promise<StageOutcome<TrainResult> | undefined> {
  const { engine, stages, recordings, windows, classes, dataKey, request } = workspace;
  const { choices } = request;
  if (choices.teacher === false) return undefined;
  return stages.run(
    trainingStage(
      'teacher',
      engine,
      {
        options: shaped({ ...TEACHER, tokens }, recordings.train, classes),
        recordings: recordings.train,
        classes,
        settings: trainSettings(recipe.training, choices.teacher, choices.seed),
        division: divisionOf(workspace),
        validation: windows.validation,
        budgetSeconds: budgetOf(workspace, BUDGET.teacher),
      },
      dataKey,
    ),
  );
}

function distillationOf({ request }: Workspace, teacher: StageOutcome<TrainResult> | undefined) {
  return teacher && { teacher: teacher.result, ...distillationSettings(request.choices.distillation) };
}

function trainStudent(
  workspace: Workspace,
  recipe: Recipe,
  options: AttentionNetworkOptions,
  teacher: StageOutcome<TrainResult> | undefined,
): Promise<StageOutcome<TrainResult>> {
  const { engine, stages, recordings, windows, classes, dataKey } = workspace;
  return stages.run(
    trainingStage(
      'student',
      engine,
      {
        options,
        recordings: recordings.train,
        classes,
        settings: studentSettings(workspace, recipe),
        validation: windows.validation,
        distillation: distillationOf(workspace, teacher),
        division: divisionOf(workspace),
        budgetSeconds: budgetOf(workspace, BUDGET.student),
      },
      [dataKey, teacher?.key ?? null],
    ),
  );
}

async function pruneStudent(
  workspace: Workspace,
  recipe: Recipe,
  student: StageOutcome<TrainResult>,
  teacher: StageOutcome<TrainResult> | undefined,
): Promise<StageOutcome<PruneOutcome> | undefined> {
  const { engine, stages, recordings, windows, classes, request } = workspace;
  if (request.choices.prune === false) return undefined;
  const pruning = { ...DEFAULT_PRUNING, ...request.choices.prune };
  return stages.run(
    pruneStage(
      engine,
      {
        student: student.result,
        recordings: recordings.train,
        classes,
        validation: windows.validation,
        settings: studentSettings(workspace, recipe),
        pruning,
        distillation: distillationOf(workspace, teacher),
        budgetSeconds: budgetOf(workspace, BUDGET.prune / pruning.plans.length),
      },
      student.key,
    ),
  );
}

function trainBackup(workspace: Workspace, recipe: Recipe): Promise<StageOutcome<TrainResult>> {
  const { engine, stages, recordings, windows, classes, dataKey } = workspace;
  return stages.run(
    trainingStage(
      'back-up',
      engine,
      {
        options: shaped(BACKUP, recordings.train, classes),
        recordings: recordings.train,
        classes,
        settings: studentSettings(workspace, recipe),
        validation: windows.validation,
        budgetSeconds: budgetOf(workspace, BUDGET.backup),
      },
      dataKey,
    ),
  );
}
