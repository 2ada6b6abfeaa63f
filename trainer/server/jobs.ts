import { randomUUID } from 'node:crypto';
import type { Database, Queries, Row } from './database.ts';

/** Workers that may die over a job before it is given up: it may be the job that kills them. */
const MOST_ATTEMPTS = 3;

export interface NewJob {
  /** What was asked for, by name: the same id is the same job, and is done once. */
  readonly id: string;
  readonly kind: string;
  readonly site: string;
  readonly input: unknown;
}

export interface Job extends NewJob {
  /** `done`: there is a result. `failed`: there will be none, for `reason`. */
  readonly state: 'waiting' | 'running' | 'done' | 'failed';
  readonly addedMs: number;
  readonly attempts: number;
  readonly worker?: string;
  readonly result?: unknown;
  readonly reason?: string;
  /** What came of the result in the world, once. */
  readonly effect?: string;
}

/** A job in a worker's hands. All four say false where it is no longer this worker's: another has taken it over, and this one's result counts nothing. */
export interface Lease {
  readonly job: Job;
  /** Says that the worker lives; to be called several times within a lease. */
  heartbeat(): Promise<boolean>;
  finish(result: unknown): Promise<boolean>;
  /** @param again lets another worker try */
  fail(reason: string, again: boolean): Promise<boolean>;
  /** Lets another worker do it, where this one was stopped: no attempt of the job's. */
  giveBack(): Promise<boolean>;
}

/** Which job is next: a query where there is one machine, a queue where there are several. All within the transaction that they are given. */
export interface Dispatch {
  announce(queries: Queries, id: string): Promise<void>;
  /** A waiting job that no other worker gets; undefined where there is none. */
  next(queries: Queries): Promise<string | undefined>;
  /** It waits again. */
  again(queries: Queries, id: string): Promise<void>;
  over(queries: Queries, id: string): Promise<void>;
  close(): Promise<void>;
}

/** The oldest waiting row of the table itself. */
export const TABLE_DISPATCH: Dispatch = {
  async announce() {},
  async next(queries) {
    const [row] = await queries.all(`SELECT id FROM jobs WHERE state = 'waiting' ORDER BY added_ms, id LIMIT 1`);
    return row?.id as string | undefined;
  },
  async again() {},
  async over() {},
  async close() {},
};

/**
 * Jobs that outlive whoever does them. A worker holds one by a lease, which its heartbeat prolongs; a killed worker's lease runs out, and the next that
 * asks takes the job over. A result is taken from the holder of the lease alone, so a worker that was only slow changes nothing.
 *
 * ```
 * waiting --take--> running --finish--> done --settle--> done, with its effect
 *    ^                 | |--fail------> failed
 *    '--- lease out, --' '--lease out, third time--> failed
 *         given back
 * ```
 */
export class Jobs {
  readonly #database: Database;
  readonly #dispatch: Dispatch;
  readonly #leaseMs: number;

  constructor(database: Database, leaseMs: number, dispatch: Dispatch = TABLE_DISPATCH) {
    this.#database = database;
    this.#leaseMs = leaseMs;
    this.#dispatch = dispatch;
  }

  get leaseMs(): number {
    return this.#leaseMs;
  }

  /** @param queries of a transaction that it belongs to @returns whether it is new */
  async add({ id, kind, site, input }: NewJob, queries?: Queries): Promise<boolean> {
    if (!queries) return this.#database.transaction((own) => this.add({ id, kind, site, input }, own));
    const made = await queries.all(
      `INSERT INTO jobs (id, kind, site, input, state, added_ms, attempts) VALUES (?, ?, ?, ?, 'waiting', ?, 0)
       ON CONFLICT (id) DO NOTHING RETURNING id`,
      ...[id, kind, site, JSON.stringify(input), await this.#database.nowMs()],
    );
    if (made.length === 0) return false;
    await this.#dispatch.announce(queries, id);
    return true;
  }

  /** @returns undefined where nothing waits */
  async take(worker: string): Promise<Lease | undefined> {
    const nowMs = await this.#database.nowMs();
    const token = randomUUID();
    const row = await this.#database.transaction(async (queries) => {
      await this.#release(queries, nowMs);
      const id = await this.#dispatch.next(queries);
      if (id === undefined) return undefined;
      const [claimed] = await queries.all(
        `UPDATE jobs SET state = 'running', attempts = attempts + 1, worker = ?, token = ?, lease_ms = ?
         WHERE id = ? AND state = 'waiting' RETURNING *`,
        ...[worker, token, nowMs + this.#leaseMs, id],
      );
      return claimed;
    });
    return row && this.#lease(jobOf(row), token);
  }

  async list(): Promise<Job[]> {
    return (await this.#database.all('SELECT * FROM jobs ORDER BY added_ms, id')).map(jobOf);
  }

  /** Whether a job of this kind is still to be done, or its result to be put into effect. Within a transaction. */
  async isBusy(queries: Queries, site: string, kind: string): Promise<boolean> {
    const rows = await queries.all(
      `SELECT id FROM jobs WHERE site = ? AND kind = ? AND (state IN ('waiting', 'running') OR (state = 'done' AND effect IS NULL)) LIMIT 1`,
      ...[site, kind],
    );
    return rows.length > 0;
  }

  /** Results that nothing has come of yet, oldest first. */
  async unsettled(): Promise<Job[]> {
    return (await this.#database.all(`SELECT * FROM jobs WHERE state = 'done' AND effect IS NULL ORDER BY ended_ms, id`)).map(jobOf);
  }

  async settle(id: string, effect: string): Promise<void> {
    await this.#database.all(`UPDATE jobs SET effect = ? WHERE id = ? AND effect IS NULL`, effect, id);
  }

  close(): Promise<void> {
    return this.#dispatch.close();
  }

  /** Jobs whose workers are silent wait again, or have failed. */
  async #release(queries: Queries, nowMs: number): Promise<void> {
    for (const { id, attempts } of await queries.all(`SELECT id, attempts FROM jobs WHERE state = 'running' AND lease_ms < ?`, nowMs)) {
      const givenUp = Number(attempts) >= MOST_ATTEMPTS;
      await queries.all(
        `UPDATE jobs SET state = ?, token = NULL, reason = ?, ended_ms = ? WHERE id = ?`,
        ...[givenUp ? 'failed' : 'waiting', givenUp ? `${attempts} workers died over it` : null, givenUp ? nowMs : null, id],
      );
      await (givenUp ? this.#dispatch.over(queries, id as string) : this.#dispatch.again(queries, id as string));
    }
  }

  #lease(job: Job, token: string): Lease {
    const end = (state: Job['state'], result: string | null, reason: string | null, attempts = job.attempts) =>
      this.#database.transaction(async (queries) => {
        const rows = await queries.all(
          `UPDATE jobs SET state = ?, result = ?, reason = ?, attempts = ?, ended_ms = ?, token = NULL WHERE id = ? AND token = ? RETURNING id`,
          ...[state, result, reason, attempts, await this.#database.nowMs(), job.id, token],
        );
        if (rows.length === 0) return false;
        await (state === 'waiting' ? this.#dispatch.again(queries, job.id) : this.#dispatch.over(queries, job.id));
        return true;
      });
    return {
      job,
      heartbeat: async () => {
        const lease = (await this.#database.nowMs()) + this.#leaseMs;
        return (
          (await this.#database.all('UPDATE jobs SET lease_ms = ? WHERE id = ? AND token = ? RETURNING id', lease, job.id, token)).length >
          0
        );
      },
      finish: (result) => end('done', JSON.stringify(result), null),
      fail: (reason, again) => end(again && job.attempts < MOST_ATTEMPTS ? 'waiting' : 'failed', null, reason),
      giveBack: () => end('waiting', null, null, job.attempts - 1),
    };
  }
}

function jobOf(row: Row): Job {
  const { id, kind, site, input, state, added_ms, attempts, worker, result, reason, effect } = row;
  return {
    id: id as string,
    kind: kind as string,
    site: site as string,
    input: JSON.parse(input as string),
    state: state as Job['state'],
    addedMs: Number(added_ms),
    attempts: Number(attempts),
    ...(worker !== null && { worker: worker as string }),
    ...(result !== null && { result: JSON.parse(result as string) }),
    ...(reason !== null && { reason: reason as string }),
    ...(effect !== null && { effect: effect as string }),
  };
}
