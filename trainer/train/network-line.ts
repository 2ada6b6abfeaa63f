import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { AttentionNetworkOptions } from '../../models/networks/attention-network.ts';
import { TEACHER } from '../../models/networks/attention-network.ts';
import type { Recording } from '../data/recording-set.ts';
import { validationFolds } from '../data/split.ts';
import type { Windows } from '../data/windows.ts';
import { fitTemperature, softmaxRows } from '../evaluate/calibration.ts';
import { type HealthyDecision, healthyClass, healthyDecision } from '../evaluate/healthy-scores.ts';
import type { TrainedNetwork } from '../release/base.ts';
import type { PruningPlan } from '../shrink/prune.ts';
import { type BackupChoice, trainBackup } from './backup-stage.ts';
import { chooseRecipe, RECIPES, type Recipe, type RecipeScore, recipesFor, shaped } from './candidates.ts';
import { solvedStage, trainingStage } from './network-stage.ts';
import { DEFAULT_PRUNING, type PruneOutcome, type PruneSettings, pruneStage } from './prune-stage.ts';
import { searchRecipe } from './recipe-search.ts';
import { runNetwork } from './run-windows.ts';
import { distillationSettings, type TrainingChoice, trainSettings } from './settings.ts';
import { cacheFolder, type StageOutcome } from './stages.ts';
import type { Division, TrainResult, TrainSettings } from './train-network.ts';
import type { Workspace } from './workspace.ts';

/** Shares of `--budget` that the stages get; student and pruning twice. */
const BUDGET = { choose: 0.15, teacher: 0.4, student: 0.15, backup: 0.05, prune: 0.05 };

/** A wide network wants smaller steps, whatever the recipe: at the student's it knows an unseen load less well than the student does. */
const TEACHER_TRAINING: TrainingChoice = { learningRate: 5e-4, steps: 300 };

/** The networks of a training, from the first to the one that decides. */
export interface NetworkLine {
  readonly recipe: Recipe;
  readonly choice: StageOutcome<RecipeChoice>;
  readonly teacher?: StageOutcome<TrainResult>;
  /** Trained on the training part alone, where validation says what pruning costs and how sure the network may be. */
  readonly rehearsal?: Rehearsal;
  readonly student: StageOutcome<TrainResult>;
  readonly prune?: StageOutcome<PruneOutcome>;
  readonly backupChoice: StageOutcome<BackupChoice>;
  readonly backup: StageOutcome<TrainResult>;
  /** Float weights of what decides: pruned where pruning held, else the student. */
  readonly primary: TrainedNetwork;
  /** Divides the logits; fitted on validation windows that the network it was fitted with had not seen. */
  readonly temperature: number;
  /** What a healthy machine is called, and how healthy windows score that the rehearsed network had not seen; absent where there is no such class. */
  readonly healthy?: HealthyDecision;
}

interface Rehearsal {
  readonly student: StageOutcome<TrainResult>;
  readonly prune?: StageOutcome<PruneOutcome>;
}

/** What a network is trained on, and what holds it against. */
interface Part {
  readonly name: 'rehearsal' | 'final';
  readonly recordings: readonly Recording[];
  readonly validation?: Windows;
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

/**
 * Chooses a recipe on the training part and trains all networks by it. The student is trained twice: a rehearsal without the validation part decides
 * what pruning is allowed and fits the temperature, then the network that is deployed learns from both parts.
 */
export async function trainLine(workspace: Workspace): Promise<NetworkLine> {
  const choice = await choose(workspace);
  const { recipe } = choice.result;
  const { recordings, windows } = workspace;
  const rehearsed: Part = { name: 'rehearsal', recordings: recordings.train, validation: windows.validation };
  const final: Part = { name: 'final', recordings: [...recordings.train, ...recordings.validation] };
  const options = shaped(recipe.network, recordings.train, workspace.classes);
  if (options.kind !== 'attention') {
    const rehearsal = { student: await solve(workspace, recipe, rehearsed) };
    const student = await solve(workspace, recipe, final);
    return { recipe, choice, rehearsal, student, ...(await completed(workspace, rehearsal, { student })) };
  }
  const teacher = await trainTeacher(workspace, options);
  const rehearsal = await trainStudents(workspace, recipe, options, teacher, rehearsed);
  const plan = rehearsal.prune?.result.plan;
  const made = await trainStudents(workspace, recipe, options, teacher, final, plan ?? false);
  return {
    recipe,
    choice,
    teacher,
    rehearsal,
    student: made.student,
    // What was taken back in the rehearsal is not tried again; its row says so.
    prune: made.prune ?? rehearsal.prune,
    ...(await completed(workspace, rehearsal, made)),
  };
}

/** What of two trainings decides: pruned where pruning held, else the student. */
const lastOf = ({ student, prune }: Rehearsal): TrainedNetwork => prune?.result.network ?? student.result;

/** What the rehearsed network tells of windows that it has not seen, and a back-up that differs from it. */
async function completed(
  workspace: Workspace,
  rehearsal: Rehearsal,
  final: Rehearsal,
): Promise<Pick<NetworkLine, 'primary' | 'backupChoice' | 'backup' | 'temperature' | 'healthy'>> {
  const { engine, windows, classes, recordings } = workspace;
  const [rehearsed, primary] = [lastOf(rehearsal), lastOf(final)];
  const { logits } = await runNetwork(engine, rehearsed, windows.validation);
  const temperature = Math.fround(fitTemperature(logits, windows.validation.labels, classes.length));
  const keys = [rehearsal, final].flatMap(({ student, prune }) => [student.key, prune?.key ?? null]);
  const { choice, backup } = await trainBackup(
    workspace,
    { rehearsed, temperature, deployed: primary, keys },
    budgetOf(workspace, BUDGET.backup),
  );
  const healthy = healthyDecision(
    healthyClass(
      classes,
      [...recordings.train, ...recordings.validation].map(({ entry }) => entry),
    ),
    classes,
    windows.validation.labels,
    softmaxRows(logits, classes.length, temperature),
  );
  return { primary, backupChoice: choice, backup, temperature, healthy };
}

/** @param plan the only one to prune to; the ladder where absent; false: none */
async function trainStudents(
  workspace: Workspace,
  recipe: Recipe,
  options: AttentionNetworkOptions,
  teacher: StageOutcome<TrainResult> | undefined,
  part: Part,
  plan?: PruningPlan | false,
): Promise<Rehearsal> {
  const student = await trainStudent(workspace, recipe, options, teacher, part);
  const { prune } = workspace.request.choices;
  if (prune === false || plan === false) return { student };
  const pruning = { ...DEFAULT_PRUNING, ...prune, ...(plan && { plans: [plan] }) };
  return { student, prune: await pruneStudent(workspace, recipe, student, teacher, part, pruning) };
}

async function choose(workspace: Workspace): Promise<StageOutcome<RecipeChoice>> {
  const { engine, stages, split, request, classes, read, signal, dataKey, stride } = workspace;
  const { choices } = request;
  const recipes = recipesFor(request.reference !== undefined);
  const inputs = [dataKey, request.split, recipes, choices.choose, choices.student, choices.seed, choices.search, choices.budget ?? null];
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
          stride,
          settingsOf,
          onTrial: ({ asked, trials, best }) =>
            bar.update(asked / trials, `trial ${asked} of ${trials}, best ${best?.score?.toFixed(4) ?? '-'}`),
          signal,
        });
        return { recipe, scores: [{ name: recipe.name, folds: [], mean: score }] };
      }
      const { scores, best } = await chooseRecipe(engine, recipes, folds, classes, settingsOf, {
        stride,
        budgetSeconds: budgetOf(workspace, BUDGET.choose),
        onProgress: (share, note) => bar.update(share, note),
        signal,
      });
      return { recipe: recipes[best], scores };
    },
    encode: (value) => ({ value, vectors: {} }),
    decode: ({ value }) => value as RecipeChoice,
    summary: ({ recipe, scores }) =>
      `${recipe.name}${scores.length > 0 ? ` (validation: ${scores.map(({ mean }) => `${(100 * mean).toFixed(1)} %`).join(', ')})` : ''}`,
  });
}

/** A recipe that is solved, not trained. */
function solve(workspace: Workspace, recipe: Recipe, part: Part): Promise<StageOutcome<TrainResult>> {
  const { engine, stages, classes, dataKey, stride } = workspace;
  const settings = studentSettings(workspace, recipe);
  return stages.run(
    solvedStage(stageName('student', part), engine, recipe, part.recordings, classes, { settings, stride }, [dataKey, part.name]),
  );
}

async function trainTeacher(workspace: Workspace, { tokens }: AttentionNetworkOptions): Promise<StageOutcome<TrainResult> | undefined> {
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
        settings: trainSettings(TEACHER_TRAINING, choices.teacher, choices.seed),
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

function stageName(network: string, { name }: Part): string {
  return name === 'final' ? network : `${network} (rehearsal)`;
}

function trainStudent(
  workspace: Workspace,
  recipe: Recipe,
  options: AttentionNetworkOptions,
  teacher: StageOutcome<TrainResult> | undefined,
  { name, recordings, validation }: Part,
): Promise<StageOutcome<TrainResult>> {
  const { engine, stages, classes, dataKey } = workspace;
  return stages.run(
    trainingStage(
      stageName('student', { name, recordings }),
      engine,
      {
        options,
        recordings,
        classes,
        settings: studentSettings(workspace, recipe),
        validation,
        distillation: distillationOf(workspace, teacher),
        division: divisionOf(workspace),
        budgetSeconds: budgetOf(workspace, BUDGET.student),
      },
      [dataKey, teacher?.key ?? null, name],
    ),
  );
}

function pruneStudent(
  workspace: Workspace,
  recipe: Recipe,
  student: StageOutcome<TrainResult>,
  teacher: StageOutcome<TrainResult> | undefined,
  part: Part,
  pruning: PruneSettings,
): Promise<StageOutcome<PruneOutcome>> {
  const { engine, stages, classes } = workspace;
  return stages.run(
    pruneStage(
      stageName('prune', part),
      engine,
      {
        student: student.result,
        recordings: part.recordings,
        classes,
        validation: part.validation,
        settings: studentSettings(workspace, recipe),
        pruning,
        distillation: distillationOf(workspace, teacher),
        budgetSeconds: budgetOf(workspace, BUDGET.prune / pruning.plans.length),
      },
      student.key,
    ),
  );
}
