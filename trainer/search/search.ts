import { Refusal } from '../refusal.ts';
import type { SettingsOf, Space } from './space.ts';
import { type Job, Study, type StudyOptions, type Trial } from './study.ts';

/**
 * Trains with settings and returns the score.
 *
 * @param resource training steps in all; the same trial may come again with more
 * @param signal stops it; it then rejects
 * @param trial its number, the name of a checkpoint to go on from
 */
export type Objective<S extends Space> = (
  settings: SettingsOf<S>,
  resource: number,
  signal: AbortSignal,
  trial: number,
) => Promise<number> | number;

export interface SearchProgress<S extends Space> {
  readonly job: Job<S>;
  /** Undefined where the job failed. */
  readonly score: number | undefined;
  readonly reason: string | undefined;
  /** Trials asked so far, of how many. */
  readonly asked: number;
  readonly trials: number;
  readonly best: Trial<S> | undefined;
}

export interface SearchOptions<S extends Space> extends StudyOptions {
  /** Jobs at a time. */
  readonly parallel?: number;
  readonly onTrial?: (progress: SearchProgress<S>) => void;
  readonly signal?: AbortSignal;
}

export interface SearchResult<S extends Space> {
  readonly best: Trial<S>;
  readonly trials: readonly Trial<S>[];
}

/** Where nothing was ever scored, so many failures in a row are the objective's fault, not the settings'. */
const MOST_FAILURES = 3;

/**
 * Searches a space for the settings with the best score: Parzen estimator for the points, successive halving for the training that each gets.
 *
 * Does: asks, runs and answers until `trials` points were tried and no promotion is due. With `file` every step is kept; the same call goes on
 * after a kill or an abort. A job that throws fails its trial, and the search goes on.
 *
 * Is wrong when the score is that of the test part: search on the validation part. A best of many scores flatters itself: measure the winner on data
 * that the search did not see.
 *
 * @throws Refusal search/... for wrong options or another study's file, search/failed where the objective never gives a score
 * @throws the signal's reason, after the running jobs have ended
 * @example
 * const { best } = await search(
 *   { rate: logUniform(1e-4, 1e-1), batch: categorical(32, 64, 96) },
 *   ({ rate, batch }, steps) => batch / 96 - Math.abs(Math.log10(rate / 2e-3)) - 1 / steps, // in earnest: train so many steps, validate
 *   { trials: 30, seed: 1, file: 'search.jsonl', resource: { maxResource: 320 } },
 * );
 * [best.trial, best.settings.batch, best.resource, best.score]; // [18, 96, 320, 0.977]
 * @see tpe.ts and asha.ts for the papers
 */
export async function search<const S extends Space>(
  space: S,
  objective: Objective<S>,
  options: SearchOptions<S>,
): Promise<SearchResult<S>> {
  const { parallel = 1, onTrial, trials } = options;
  if (!Number.isSafeInteger(parallel) || parallel < 1)
    throw new Refusal('search/parallel', `${parallel} jobs at a time do nothing; give 1 or more`);
  options.signal?.throwIfAborted();
  const study = new Study(space, options);
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  let failures: Error[] = [];

  const run = async (job: Job<S>): Promise<void> => {
    let score = Number.NaN;
    let error: Error | undefined;
    try {
      score = await objective(job.settings, job.resource, signal, job.trial);
      if (!Number.isFinite(score)) error = new Error(`the score is ${score}`);
    } catch (cause) {
      // What an abort broke off has no answer: it is asked again when the search goes on.
      if (signal.aborted) return;
      error = cause instanceof Error ? cause : new Error(String(cause));
    }
    if (error) study.fail(job, error.message);
    else study.tell(job, score);
    failures = error ? [...failures, error] : [];
    onTrial?.({ job, score: error ? undefined : score, reason: error?.message, asked: study.trials.length, trials, best: study.best });
    if (failures.length >= MOST_FAILURES && !study.best)
      throw new Refusal('search/failed', `${failures.length} trials in a row failed: ${failures[0].message}`, { cause: failures[0] });
  };

  const running = new Set<Promise<void>>();
  try {
    for (;;) {
      signal.throwIfAborted();
      for (let job: Job<S> | undefined; running.size < parallel; ) {
        job = study.ask();
        if (!job) break;
        const promise = run(job).finally(() => running.delete(promise));
        running.add(promise);
      }
      if (running.size === 0) break;
      await Promise.race(running);
    }
    const { best } = study;
    if (!best)
      throw new Refusal(
        'search/failed',
        `none of ${study.trials.length} trials gave a score; the last one: ${study.trials.at(-1)?.reason}`,
      );
    return { best, trials: study.trials };
  } finally {
    stop.abort();
    await Promise.allSettled(running);
    study.close();
  }
}
