import * as z from 'zod';
import { Refusal } from '../refusal.ts';
import { type HalvingOptions, rungResources, SuccessiveHalving } from './asha.ts';
import { Journal, readJournal } from './journal.ts';
import { type Choice, type SettingsOf, type Space, settingsAt, unitsOf } from './space.ts';
import { randomOf, suggest, TPE_DEFAULTS, type TpeOptions } from './tpe.ts';

export interface StudyOptions {
  /** How many points to try; more than before goes on with a study. */
  readonly trials: number;
  readonly seed: number;
  /** Whether a higher score is better, as an accuracy is, or a lower one. */
  readonly goal?: 'maximize' | 'minimize';
  /**
   * The rungs of successive halving. With maxResource alone there are three, of a sixteenth, a quarter and all of it (eta 4, rounded down); without
   * any there is one, of resource 1.
   */
  readonly resource?: Partial<HalvingOptions>;
  readonly sampler?: Partial<TpeOptions>;
  /** Where the study is kept; in memory only where absent. */
  readonly file?: string;
}

/** One run of the objective. */
export interface Job<S extends Space = Space> {
  readonly trial: number;
  readonly rung: number;
  /** Training steps in all, those of the rungs below included. */
  readonly resource: number;
  readonly settings: SettingsOf<S>;
}

export interface Trial<S extends Space = Space> {
  readonly trial: number;
  readonly settings: SettingsOf<S>;
  /** The highest resource that it was scored at, 0 where at none. */
  readonly resource: number;
  /** The score there. */
  readonly score: number | undefined;
  readonly state: 'running' | 'scored' | 'failed';
  /** Why it failed. */
  readonly reason: string | undefined;
}

interface Kept {
  readonly settings: Readonly<Record<string, Choice>>;
  readonly units: readonly number[];
  rung: number;
  score: number | undefined;
  reason: string | undefined;
}

const trialNumber = z.number().int().nonnegative();
const eventSchema = z.union([
  z.strictObject({
    asked: trialNumber,
    rung: trialNumber,
    settings: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
  }),
  z.strictObject({ told: trialNumber, rung: trialNumber, score: z.number() }),
  z.strictObject({ failed: trialNumber, rung: trialNumber, reason: z.string() }),
]);
type Event = z.infer<typeof eventSchema>;

/**
 * A study: which settings to try next, for how long, and what came of those that were tried.
 *
 * Does: `ask` gives a promotion of successive halving where one is due, else a new point of the Parzen estimator; `tell` takes the score. Every ask
 * and every answer is a line of the journal before it counts, so a study that was killed goes on from its file: jobs without an answer are asked
 * again first, and each suggestion depends on nothing but the seed, the trial's number and the answers so far. With one worker a resumed study asks
 * what an uninterrupted one would have asked.
 *
 * Is wrong when the objective is not the same from one run to the next: scores of different data are compared. With several workers the
 * suggestions depend on the order of the answers, as they do in any asynchronous search.
 *
 * @example
 * const study = new Study({ x: uniform(0, 1) }, { trials: 20, seed: 1, goal: 'minimize' });
 * for (let job = study.ask(); job; job = study.ask()) study.tell(job, (job.settings.x - 0.3) ** 2);
 * study.best!.settings.x; // 0.295
 */
export class Study<const S extends Space> {
  readonly #space: S;
  readonly #limit: number;
  readonly #seed: number;
  readonly #sign: 1 | -1;
  readonly #sampler: TpeOptions;
  readonly #halving: SuccessiveHalving;
  readonly #journal: Journal | undefined;
  readonly #trials: Kept[] = [];
  /** Asked and not answered, by trial: the rung. */
  readonly #running = new Map<number, number>();
  /** Those that an earlier process left. */
  readonly #abandoned: number[];

  /** @throws Refusal search/trials, search/space, search/resource, search/journal, search/resume */
  constructor(space: S, options: StudyOptions) {
    const { trials, seed, goal = 'maximize', file } = options;
    if (!Number.isSafeInteger(trials) || trials < 1)
      throw new Refusal('search/trials', `${trials} trials are nothing to search with; give 1 or more`);
    if (Object.keys(space).length === 0) throw new Refusal('search/space', 'the space has no parameters; name one or more');
    const { eta = 4, earlyStoppingRate = 0 } = options.resource ?? {};
    const { maxResource = options.resource?.minResource ?? 1 } = options.resource ?? {};
    const { minResource = Math.max(1, Math.floor(maxResource / eta ** (2 + earlyStoppingRate))) } = options.resource ?? {};
    const resource = { minResource, maxResource, eta, earlyStoppingRate };
    const sampler = { ...TPE_DEFAULTS, ...options.sampler };
    this.#space = space;
    this.#limit = trials;
    this.#seed = seed;
    this.#sign = goal === 'maximize' ? -1 : 1;
    this.#sampler = sampler;
    this.#halving = new SuccessiveHalving(rungResources(resource), eta);
    if (file === undefined) {
      this.#abandoned = [];
      return;
    }
    const header = { study: 1, seed, goal, resource, sampler, space };
    const content = readJournal(file, header);
    content.events.forEach((event, index) => {
      this.#replay(event, `${file} line ${index + 2}`);
    });
    this.#abandoned = [...this.#running.keys()];
    this.#journal = new Journal(file, header, content);
  }

  /** The next job; undefined where there is none until a running one is answered, and for good where none runs. */
  ask(): Job<S> | undefined {
    const abandoned = this.#abandoned.shift();
    if (abandoned !== undefined) return this.#job(abandoned);
    const promotion = this.#halving.promotion();
    if (promotion) {
      this.#record({ asked: promotion.trial, rung: promotion.rung });
      return this.#job(promotion.trial);
    }
    const trial = this.#trials.length;
    if (trial >= this.#limit) return undefined;
    const observations = this.#trials.map((kept) => ({ units: kept.units, rung: kept.rung, loss: this.#lossOf(kept) }));
    const units = suggest(this.#space, observations, randomOf(this.#seed, trial), this.#sampler);
    if (!units) return undefined;
    this.#record({ asked: trial, rung: 0, settings: settingsAt(this.#space, units) });
    return this.#job(trial);
  }

  /** Answers a job. A score that is no finite number fails its trial. */
  tell(job: Job<S>, score: number): void {
    this.#checkRunning(job);
    if (Number.isFinite(score)) this.#record({ told: job.trial, rung: job.rung, score });
    else this.fail(job, `its score is ${score}`);
  }

  /** Answers a job that gave no score: its trial counts as worse than any, and is not tried again. */
  fail(job: Job<S>, reason: string): void {
    this.#checkRunning(job);
    this.#record({ failed: job.trial, rung: job.rung, reason });
  }

  get trials(): Trial<S>[] {
    return this.#trials.map((_, trial) => this.#trialAt(trial));
  }

  /** The best score at the highest resource that any trial reached, failed trials left out: scores of less training are not compared with it. */
  get best(): Trial<S> | undefined {
    let best: number | undefined;
    this.#trials.forEach((kept, trial) => {
      if (kept.score === undefined || kept.reason !== undefined) return;
      const other = best === undefined ? undefined : this.#trials[best];
      const better = !other || kept.rung > other.rung || (kept.rung === other.rung && this.#sign * kept.score < this.#sign * other.score!);
      if (better) best = trial;
    });
    return best === undefined ? undefined : this.#trialAt(best);
  }

  close(): void {
    this.#journal?.close();
  }

  #trialAt(trial: number): Trial<S> {
    const { settings, rung, score, reason } = this.#trials[trial];
    const state = reason !== undefined ? 'failed' : this.#running.has(trial) ? 'running' : 'scored';
    const resource = score === undefined ? 0 : this.#halving.resources[rung];
    return { trial, settings: settings as SettingsOf<S>, resource, score, state, reason };
  }

  #job(trial: number): Job<S> {
    const rung = this.#running.get(trial)!;
    return { trial, rung, resource: this.#halving.resources[rung], settings: this.#trials[trial].settings as SettingsOf<S> };
  }

  #lossOf({ score, reason }: Kept): number | undefined {
    if (reason !== undefined) return Number.POSITIVE_INFINITY;
    return score === undefined ? undefined : this.#sign * score;
  }

  #checkRunning({ trial, rung }: Job<S>): void {
    if (this.#running.get(trial) !== rung) throw new Error(`trial ${trial} is not running rung ${rung}; answer a job of ask() once`);
  }

  #record(event: Event): void {
    this.#journal?.append(event);
    this.#apply(event);
  }

  /** An event of the file: it must be one that this study could have written. @throws Refusal search/journal */
  #replay(value: unknown, where: string): void {
    const broken = (complaint: string, cause?: unknown) =>
      new Refusal('search/journal', `${where} ${complaint}; move the file away to start anew`, { cause });
    const parsed = eventSchema.safeParse(value);
    if (!parsed.success) throw broken('is no event of a search', parsed.error);
    const event = parsed.data;
    if ('asked' in event) {
      const known = this.#trials[event.asked];
      const next = event.rung === 0 ? event.asked === this.#trials.length && event.settings : known?.rung === event.rung - 1;
      const free = !this.#running.has(event.asked) && known?.reason === undefined && event.rung < this.#halving.resources.length;
      if (!next || !free) throw broken(`asks trial ${event.asked} for rung ${event.rung} out of turn`);
    } else {
      const trial = 'told' in event ? event.told : event.failed;
      if (this.#running.get(trial) !== event.rung) throw broken(`answers trial ${trial} at rung ${event.rung}, which was not asked`);
    }
    try {
      this.#apply(event);
    } catch (cause) {
      throw broken(`has settings of another space: ${(cause as Error).message}`, cause);
    }
  }

  #apply(event: Event): void {
    if ('asked' in event) {
      const { asked: trial, rung, settings } = event;
      if (settings) this.#trials.push({ settings, units: unitsOf(this.#space, settings), rung: -1, score: undefined, reason: undefined });
      this.#running.set(trial, rung);
      this.#halving.start(trial, rung);
      return;
    }
    const trial = 'told' in event ? event.told : event.failed;
    const kept = this.#trials[trial];
    this.#running.delete(trial);
    if ('told' in event) {
      kept.rung = event.rung;
      kept.score = event.score;
    } else {
      kept.reason = event.reason;
    }
    this.#halving.finish(trial, event.rung, 'told' in event ? this.#sign * event.score : Number.POSITIVE_INFINITY);
  }
}
