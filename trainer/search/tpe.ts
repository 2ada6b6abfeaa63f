import { Random } from '../../models/networks/random.ts';
import {
  choiceEstimator,
  continuousEstimator,
  type Estimator,
  gamma,
  levelEstimator,
  PARZEN_DEFAULTS,
  type ParzenOptions,
  squareRootGamma,
} from './parzen.ts';
import { levelAt, levelCentre, levelsOf, type Parameter, type Space } from './space.ts';
import { bestUnvisited, keyOf } from './unvisited.ts';

export interface TpeOptions extends ParzenOptions {
  /** Trials drawn evenly before the model is asked: finished ones are counted. */
  readonly startup: number;
  /** Draws from the good trials' density, of which the one with the highest expected improvement is suggested. */
  readonly candidates: number;
  /** Share of the trials that are the good ones: a tenth, or hyperopt's quarter of the square root; 25 at most. */
  readonly good: 'tenth' | 'squareRoot';
}

export const TPE_DEFAULTS: TpeOptions = { ...PARZEN_DEFAULTS, startup: 10, candidates: 24, good: 'tenth' };

/** What the sampler is told of a trial. */
export interface Observation {
  /** A coordinate in [0, 1] for each parameter. */
  readonly units: readonly number[];
  /** The highest rung that it has finished: more training says more, so a higher rung ranks before any loss. */
  readonly rung: number;
  /** Lower is better, Infinity for a failed trial, undefined while it runs. */
  readonly loss: number | undefined;
}

/** No parameter of more levels is enumerated; two suggestions of the same number are rare in so many. */
const MOST_LEVELS = 4096;

function estimatorOf(parameter: Parameter, observations: readonly number[], options: ParzenOptions): Estimator {
  if (parameter.kind === 'categorical') return choiceEstimator(observations, parameter.choices.length, options);
  if (parameter.kind === 'integer') return levelEstimator(observations, levelsOf(parameter), options);
  return continuousEstimator(observations, options);
}

/** Finished trials, the best first, then those that run: the constant lie is that they will turn out the worst. */
function ranked(trials: readonly Observation[]): number[] {
  const rankOf = ({ rung, loss }: Observation) => (loss === undefined ? -2 : loss === Number.POSITIVE_INFINITY ? -1 : rung);
  return trials
    .map((_, index) => index)
    .sort((a, b) => rankOf(trials[b]) - rankOf(trials[a]) || (rankOf(trials[a]) < 0 ? 0 : trials[a].loss! - trials[b].loss!) || a - b);
}

/**
 * Suggests the next point by the tree-structured Parzen estimator.
 *
 * Does: splits the trials into a few good ones and the others, fits a Parzen estimator to each group and parameter, draws candidates from the good
 * ones' and suggests, parameter by parameter, the candidate that is most of all likelier there than among the others: that is the one of the highest
 * expected improvement. A running trial counts as a bad one, so that workers in parallel do not crowd in one place (constant liar). In a space of
 * discrete parameters no point is suggested twice.
 *
 * Is wrong when the best value of one parameter depends on another's: every parameter is looked at by itself. Is no better than chance for the first
 * trials, nor where nearly all trials score the same.
 *
 * @param trials in the order in which they were suggested
 * @param random the numbers of this suggestion; the same numbers and trials give the same point
 * @returns a coordinate in [0, 1] for each parameter; undefined where a discrete space has no point left
 * @example
 * const space = { rate: logUniform(1e-4, 1e-1) };
 * const units = suggest(space, [], new Random(1)); // one coordinate, drawn evenly
 * settingsAt(space, units!).rate; // 0.000188
 * @see Bergstra, Bardenet, Bengio, Kegl 2011, "Algorithms for hyper-parameter optimization", NeurIPS
 * @see Ginsbourger, Le Riche, Carraro 2010, "Kriging is well-suited to parallelize optimization" (constant liar)
 */
export function suggest(
  space: Space,
  trials: readonly Observation[],
  random: Random,
  options: TpeOptions = TPE_DEFAULTS,
): number[] | undefined {
  const parameters = Object.values(space);
  const finished = trials.filter(({ loss }) => loss !== undefined);
  const informed = finished.length >= options.startup && finished.some(({ loss }) => loss !== Number.POSITIVE_INFINITY);
  const models = informed ? fitModels(parameters, trials, finished.length, options) : undefined;
  const units = parameters.map((parameter, index) => {
    if (models) return mostImproving(models[index], random, options.candidates);
    const levels = levelsOf(parameter);
    return Number.isFinite(levels) ? levelCentre(random.below(levels), levels) : random.uniform();
  });

  const levels = parameters.map(levelsOf);
  if (levels.some((count) => count > MOST_LEVELS)) return units;
  const visited = new Set(trials.map((trial) => keyOf(trial.units.map((unit, index) => levelAt(unit, levels[index])))));
  if (!visited.has(keyOf(units.map((unit, index) => levelAt(unit, levels[index]))))) return units;
  // Without a model the scores are noise, so that the next best point is any one.
  const scores = levels.map((count, index) =>
    Array.from({ length: count }, (_, level) => (models ? improvement(models[index], levelCentre(level, count)) : random.uniform())),
  );
  return bestUnvisited(scores, visited)?.map((level, index) => levelCentre(level, levels[index]));
}

interface Model {
  readonly good: Estimator;
  readonly others: Estimator;
}

function fitModels(parameters: readonly Parameter[], trials: readonly Observation[], finished: number, options: TpeOptions): Model[] {
  const share = options.good === 'tenth' ? gamma : squareRootGamma;
  const good = new Set(ranked(trials).slice(0, share(finished)));
  return parameters.map((parameter, column) => {
    const of = (wanted: boolean) => trials.filter((_, index) => good.has(index) === wanted).map(({ units }) => units[column]);
    return { good: estimatorOf(parameter, of(true), options), others: estimatorOf(parameter, of(false), options) };
  });
}

/** Rises with the expected improvement (equation 5 of the paper). */
function improvement({ good, others }: Model, unit: number): number {
  return good.logLikelihood(unit) - others.logLikelihood(unit);
}

function mostImproving(model: Model, random: Random, candidates: number): number {
  let [best, highest] = [0, Number.NEGATIVE_INFINITY];
  for (let candidate = 0; candidate < candidates; candidate++) {
    const unit = model.good.draw(random);
    const value = improvement(model, unit);
    if (value > highest) [best, highest] = [unit, value];
  }
  return best;
}

/** The numbers of one trial's suggestion: a resumed study draws the same ones without having kept a generator's state. */
export function randomOf(seed: number, trial: number): Random {
  return new Random(seed + Math.imul(trial, 0x85ebca6b));
}
