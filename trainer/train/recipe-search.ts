import type { Engine } from '../../models/engine/engine.ts';
import { STUDENT } from '../../models/networks/attention-network.ts';
import { type SearchProgress, search } from '../search/search.ts';
import { categorical, logUniform, type SettingsOf, uniform } from '../search/space.ts';
import { type FoldData, type Recipe, scoreOn, shaped } from './candidates.ts';
import type { TrainingChoice } from './settings.ts';
import { type TrainSettings, trainNetwork } from './train-network.ts';

/** What `--search` looks through: the student's training. */
const RECIPE_SPACE = {
  learningRate: logUniform(1e-4, 5e-3),
  weightDecay: logUniform(1e-3, 0.5),
  mask: uniform(0, 0.6),
  dropout: uniform(0, 0.3),
  mixup: categorical(0, 0.1, 0.3),
  labelSmoothing: categorical(0, 0.05, 0.1),
};

/** Steps of the longest training; the first rung has a sixteenth. */
const SEARCH_STEPS = 800;
/** Settings that are right equally often differ in how sure they are. */
const LOSS_WEIGHT = 0.01;

type Settings = SettingsOf<typeof RECIPE_SPACE>;

function trainingOf({ learningRate, weightDecay, mask, dropout, mixup, labelSmoothing }: Settings, steps: number): TrainingChoice {
  return { learningRate, weightDecay, labelSmoothing, steps, augmentation: { mask, dropout, mixup } };
}

export interface RecipeSearchRequest {
  readonly trials: number;
  readonly seed: number;
  /** Journal of the search, from which a killed one goes on. */
  readonly file: string;
  readonly folds: readonly FoldData[];
  readonly classes: readonly string[];
  /** Samples from window to window of what trials are judged on. */
  readonly stride: number;
  readonly settingsOf: (recipe: Recipe) => TrainSettings;
  readonly onTrial: (progress: SearchProgress<typeof RECIPE_SPACE>) => void;
  readonly signal?: AbortSignal;
}

/** Searches the student's settings by mean balanced accuracy on the folds, and cross-entropy where that is alike. */
export async function searchRecipe(engine: Engine, request: RecipeSearchRequest): Promise<{ recipe: Recipe; score: number }> {
  const { trials, seed, file, folds, classes } = request;
  const recipeOf = (settings: Settings, steps: number): Recipe => ({
    name: 'searched',
    network: STUDENT,
    training: trainingOf(settings, steps),
  });
  const { best } = await search(
    RECIPE_SPACE,
    async (settings, steps, signal) => {
      const recipe = recipeOf(settings, steps);
      let sum = 0;
      for (const { train, validation } of folds) {
        const options = shaped(recipe.network, train, classes);
        const trained = await trainNetwork(engine, { options, recordings: train, classes, settings: request.settingsOf(recipe), signal });
        const { balancedAccuracy, loss } = await scoreOn(engine, trained, validation, classes, request.stride);
        sum += balancedAccuracy - LOSS_WEIGHT * Math.min(1, loss);
      }
      return sum / folds.length;
    },
    { trials, seed, file, resource: { maxResource: SEARCH_STEPS }, onTrial: request.onTrial, signal: request.signal },
  );
  return { recipe: recipeOf(best.settings, SEARCH_STEPS), score: best.score! };
}
