import type { DriftSignal } from '../../runtime/contracts/drift.ts';
import { type Label, labelledClass } from '../../runtime/contracts/label.ts';
import type { Database, Queries, Row } from './database.ts';
import { adaptersOf, ERASED, forgetPseudonyms, learnedFromErased } from './erased.ts';
import { makeTables } from './tables.ts';

/** Where something came from. */
export interface Origin {
  readonly site: string;
  readonly gateway: string;
  readonly stream: string;
}

export const ARRIVAL_KINDS = ['signal', 'label', 'adapter'] as const;
export type ArrivalKind = (typeof ARRIVAL_KINDS)[number];

/** Something that a gateway or an annotator said. */
export interface Arrival extends Origin {
  readonly kind: ArrivalKind;
  /** Unique among what this gateway sends of the kind. */
  readonly id: string;
  readonly atMs: number;
  /** Whom it is about or by: what an erasure names. */
  readonly pseudonym?: string;
  /** JSON; of a signal without its windows' samples, of an adapter `{file}` in base64. */
  readonly body: string;
  readonly windows?: readonly RawWindow[];
}

export interface KeptArrival extends Arrival {
  /** Grows with each arrival. */
  readonly number: number;
}

/** Samples that a gateway sent as evidence: value = code * scale. */
export interface RawWindow {
  readonly epoch: number;
  readonly endSequence: number;
  readonly scales: readonly number[];
  /** int16, little-endian, [window, channels], base64. */
  readonly codes: string;
}

/** A window with what was said of it. */
export interface LabelledWindow extends Origin, RawWindow {
  readonly asset: string;
  readonly class: string;
  readonly label: {
    readonly gateway: string;
    readonly id: string;
    readonly annotator: string;
    readonly tier: Label['tier'];
    readonly number: number;
  };
}

/** What has come of a site since the last retraining. */
export interface Facts {
  /** Number of the last arrival. */
  readonly last: number;
  /** Labels that name a class. */
  readonly labels: number;
  /** Sum of the severities of drifts that were not benign. */
  readonly severity: number;
  /** Figures of each business metric, oldest first. */
  readonly metrics: Readonly<Record<string, readonly number[]>>;
}

/** A model that the server made, or begins with. */
export interface Model {
  readonly digest: string;
  readonly site: string;
  readonly parent: string;
  readonly job: string;
  readonly madeMs: number;
  /** `offered`: passed its gate. `running`: its rollout is over and good. `withdrawn`: it went wrong. `tainted`: holds what was erased. */
  readonly state: 'offered' | 'running' | 'withdrawn' | 'tainted';
  /** Windows that it was trained on, as GATEWAY/STREAM/EPOCH/END, in the order of its last replay rows; and ids of their labels. */
  readonly windows: readonly string[];
  readonly labels: readonly string[];
  readonly deployment?: string;
}

/** Figures that a rule looks back on. */
const LARGEST_METRICS = 10_000;

/**
 * The server's books, in SQLite or Postgres. What a promise of `keep` stands for is on disk when it resolves; what comes twice counts once.
 */
export class Store {
  readonly #database: Database;

  static async open(database: Database): Promise<Store> {
    await makeTables(database);
    return new Store(database);
  }

  private constructor(database: Database) {
    this.#database = database;
  }

  /** @returns whether it is new */
  keep(arrival: Arrival): Promise<boolean> {
    const { site, gateway, kind, id, stream, pseudonym = null, atMs, body, windows = [] } = arrival;
    return this.#database.transaction(async (queries) => {
      const made = await queries.all(
        `INSERT INTO arrivals (site, gateway, kind, id, stream, pseudonym, at_ms, body, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'kept')
         ON CONFLICT (site, gateway, kind, id) DO NOTHING RETURNING number`,
        ...[site, gateway, kind, id, stream, pseudonym, atMs, body],
      );
      if (made.length === 0) return false;
      for (const { epoch, endSequence, scales, codes } of windows)
        await queries.all(
          `INSERT INTO windows (site, gateway, stream, epoch, end_sequence, signal, asset, scales, codes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (site, gateway, stream, epoch, end_sequence) DO NOTHING`,
          ...[site, gateway, stream, epoch, endSequence, id, pseudonym ?? '', JSON.stringify(scales), codes],
        );
      return true;
    });
  }

  async keepMetric(name: string, atMs: number, value: number): Promise<void> {
    await this.#database.all('INSERT INTO metrics (name, at_ms, value) VALUES (?, ?, ?)', name, atMs, value);
  }

  /** Arrivals of a kind that may be learned from, oldest first. */
  async arrivals(site: string, kind: ArrivalKind, through = Number.MAX_SAFE_INTEGER): Promise<KeptArrival[]> {
    const rows = await this.#database.all(
      `SELECT * FROM arrivals WHERE site = ? AND kind = ? AND state = 'kept' AND number <= ? ORDER BY number`,
      ...[site, kind, through],
    );
    return rows.map(arrivalOf);
  }

  /** How many arrivals of each kind and state there are. */
  async counts(): Promise<Record<string, number>> {
    const rows = await this.#database.all('SELECT kind, state, count(*) AS many FROM arrivals GROUP BY kind, state');
    return Object.fromEntries(rows.map(({ kind, state, many }) => [`${kind}.${state}`, Number(many)]));
  }

  async quarantine(site: string, gateway: string, kind: ArrivalKind, ids: readonly string[], reason: string): Promise<void> {
    for (const id of ids)
      await this.#database.all(
        `UPDATE arrivals SET state = 'quarantined', reason = ? WHERE site = ? AND gateway = ? AND kind = ? AND id = ? AND state = 'kept'`,
        ...[reason, site, gateway, kind, id],
      );
  }

  async quarantined(
    site: string,
  ): Promise<{ readonly gateway: string; readonly kind: ArrivalKind; readonly id: string; readonly reason: string }[]> {
    const rows = await this.#database.all(
      `SELECT gateway, kind, id, reason FROM arrivals WHERE site = ? AND state = 'quarantined' ORDER BY number`,
      site,
    );
    return rows as never;
  }

  /**
   * Windows that samples and a class are known of. Of several labels the higher tier counts, then the later one.
   *
   * @param through number of the last arrival that counts
   */
  async labelledWindows(site: string, through = Number.MAX_SAFE_INTEGER): Promise<LabelledWindow[]> {
    const labels = await this.arrivals(site, 'label', through);
    const found = new Map<string, LabelledWindow>();
    const rank = ({ label }: LabelledWindow) => ['first', 'crossCheck', 'expert'].indexOf(label.tier);
    for (const { number, gateway, id, stream, body } of labels) {
      const label = JSON.parse(body) as Label;
      for (const row of await this.#subject(site, gateway, stream, label)) {
        const key = windowKey(row);
        const named = labelledClass(label);
        // Another's doubt about a class that was given takes it back, where the doubt ranks as high.
        const before = found.get(key);
        const made = { ...row, class: named ?? '', label: { gateway, id, annotator: label.annotator, tier: label.tier, number } };
        if (
          named !== undefined
            ? !before || rank(made) >= rank(before)
            : label.verdict === 'reject' && before?.class === label.class && rank(made) >= rank(before)
        ) {
          if (named === undefined) found.delete(key);
          else found.set(key, made);
        }
      }
    }
    return [...found.values()];
  }

  async #subject(site: string, gateway: string, stream: string, { subject }: Label): Promise<Omit<LabelledWindow, 'class' | 'label'>[]> {
    const [condition, values] =
      subject.kind === 'signal'
        ? ['signal = ?', [subject.signal]]
        : [
            'stream = ? AND epoch = ? AND end_sequence >= ? AND end_sequence <= ?',
            subject.kind === 'window'
              ? [stream, subject.epoch, subject.endSequence, subject.endSequence]
              : [stream, subject.epoch, subject.fromSequence, subject.toSequence],
          ];
    const rows = await this.#database.all(
      `SELECT * FROM windows WHERE site = ? AND gateway = ? AND ${condition} ORDER BY stream, epoch, end_sequence`,
      ...[site, gateway, ...values],
    );
    return rows.map((row) => ({
      ...originOf(row),
      epoch: Number(row.epoch),
      endSequence: Number(row.end_sequence),
      asset: row.asset as string,
      scales: JSON.parse(row.scales as string),
      codes: row.codes as string,
    }));
  }

  /** Facts and what follows from them, as one step: nothing arrives in between. `decide` may be called again. */
  consider<T>(site: string, decide: (facts: Facts, queries: Queries) => Promise<T>): Promise<T> {
    return this.#database.transaction(async (queries) => {
      const [mark] = await queries.all('SELECT through FROM marks WHERE site = ?', site);
      const rows = await queries.all(
        `SELECT number, kind, body FROM arrivals WHERE site = ? AND state = 'kept' AND number > ? AND kind IN ('signal', 'label')`,
        ...[site, Number(mark?.through ?? 0)],
      );
      let [last, labels, severity] = [Number(mark?.through ?? 0), 0, 0];
      for (const { number, kind, body } of rows) {
        last = Math.max(last, Number(number));
        if (kind === 'label') labels += labelledClass(JSON.parse(body as string)) === undefined ? 0 : 1;
        else {
          const signal = JSON.parse(body as string) as DriftSignal;
          severity += signal.benign ? 0 : signal.severity;
        }
      }
      const figures = await queries.all(`SELECT name, value FROM metrics ORDER BY number DESC LIMIT ${LARGEST_METRICS}`);
      const metrics: Record<string, number[]> = {};
      for (const { name, value } of figures.reverse()) {
        metrics[name as string] ??= [];
        metrics[name as string].push(Number(value));
      }
      return decide({ last, labels, severity, metrics }, queries);
    });
  }

  /** What came up to here has been answered by a retraining. Within `consider`. A metric begins anew: its fall was answered, too. */
  async mark(queries: Queries, site: string, through: number): Promise<void> {
    await queries.all(
      'INSERT INTO marks (site, through) VALUES (?, ?) ON CONFLICT (site) DO UPDATE SET through = excluded.through',
      ...[site, through],
    );
    await queries.all('DELETE FROM metrics');
  }

  /** The key that a gateway is known by: the one given where it is its first. */
  async gatewayKey(site: string, gateway: string, offered: string): Promise<string> {
    await this.#database.all(
      'INSERT INTO gateway_keys (site, gateway, public_key) VALUES (?, ?, ?) ON CONFLICT (site, gateway) DO NOTHING',
      ...[site, gateway, offered],
    );
    const [{ public_key: known }] = await this.#database.all(
      'SELECT public_key FROM gateway_keys WHERE site = ? AND gateway = ?',
      site,
      gateway,
    );
    return known as string;
  }

  /**
   * The same digest a second time changes nothing.
   *
   * @param pseudonyms whom its windows and labels are of
   * @returns its state: `tainted` where what it learned from was erased while it was made
   */
  addModel(model: Model, pseudonyms: readonly string[]): Promise<Model['state']> {
    const { digest, site, parent, job, madeMs, windows, labels } = model;
    return this.#database.transaction(async (queries) => {
      const isTainted = await learnedFromErased(queries, model, pseudonyms);
      const state = isTainted ? 'tainted' : model.state;
      await queries.all(
        `INSERT INTO models (digest, site, parent, job, made_ms, state, windows, labels) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (digest) DO NOTHING`,
        ...[digest, site, parent, job, madeMs, state, JSON.stringify(windows), JSON.stringify(labels)],
      );
      const [{ state: kept }] = await queries.all('SELECT state FROM models WHERE digest = ?', digest);
      if (kept === 'tainted') {
        // Of names, none comes back with it; and what is left counts once more.
        await forgetPseudonyms(queries, job);
        await queries.all('DELETE FROM marks WHERE site = ?', site);
        return kept;
      }
      for (const name of new Set(pseudonyms))
        await queries.all('INSERT INTO model_pseudonyms (digest, pseudonym) VALUES (?, ?) ON CONFLICT DO NOTHING', digest, name);
      return kept as Model['state'];
    });
  }

  /** Oldest first. */
  async models(site: string): Promise<Model[]> {
    return (await this.#database.all('SELECT * FROM models WHERE site = ? ORDER BY made_ms, digest', site)).map(modelOf);
  }

  /** What is tainted stays so. */
  async setModel(digest: string, { state, deployment }: Pick<Model, 'state' | 'deployment'>): Promise<void> {
    await this.#database.all(
      `UPDATE models SET state = ?, deployment = coalesce(?, deployment) WHERE digest = ? AND state <> 'tainted'`,
      ...[state, deployment ?? null, digest],
    );
  }

  /**
   * Takes all that is of a pseudonym out of the books: samples, signals, labels, adapters. Models that learned from it, and those made from them,
   * become `tainted`.
   *
   * @returns what was erased, by kind, and the models that must be made again
   */
  erase(pseudonym: string): Promise<{ readonly erased: Record<string, number>; readonly models: Model[] }> {
    return this.#database.transaction(async (queries) => {
      const adapters = await adaptersOf(queries, pseudonym);
      const windows = await queries.all('DELETE FROM windows WHERE asset = ? RETURNING site', pseudonym);
      const rows = await queries.all(
        `UPDATE arrivals SET state = 'erased', body = '{}', pseudonym = NULL, reason = 'erased' WHERE pseudonym = ? RETURNING kind`,
        pseudonym,
      );
      for (const number of adapters)
        rows.push(
          ...(await queries.all(
            `UPDATE arrivals SET state = 'erased', body = '{}', reason = 'erased' WHERE number = ? RETURNING kind`,
            number,
          )),
        );
      const erased: Record<string, number> = { windows: windows.length };
      for (const { kind } of rows) erased[`${kind}s`] = (erased[`${kind}s`] ?? 0) + 1;
      const all = (await queries.all('SELECT * FROM models ORDER BY made_ms, digest')).map(modelOf);
      const own = await queries.all('SELECT digest FROM model_pseudonyms WHERE pseudonym = ?', pseudonym);
      const tainted = new Set(own.map(({ digest }) => digest as string));
      // Children are younger than their parents.
      for (const { digest, parent } of all) if (tainted.has(parent)) tainted.add(digest);
      for (const digest of tainted) await queries.all(`UPDATE models SET state = 'tainted' WHERE digest = ?`, digest);
      await queries.all('DELETE FROM model_pseudonyms WHERE pseudonym = ?', pseudonym);
      // Results name whom they learned from.
      await queries.all(`UPDATE jobs SET result = replace(result, ?, ?) WHERE result IS NOT NULL`, pseudonym, ERASED);
      // What is left counts once more: these models must be made again.
      for (const { site } of all.filter(({ digest }) => tainted.has(digest))) await queries.all('DELETE FROM marks WHERE site = ?', site);
      return { erased, models: all.filter(({ digest }) => tainted.has(digest)) };
    });
  }
}

/** A window's name, within its site. */
export function windowKey({
  gateway,
  stream,
  epoch,
  endSequence,
}: Omit<Origin, 'site'> & Pick<RawWindow, 'epoch' | 'endSequence'>): string {
  return `${gateway}/${stream}/${epoch}/${endSequence}`;
}

function originOf({ site, gateway, stream }: Row): Origin {
  return { site: site as string, gateway: gateway as string, stream: stream as string };
}

function arrivalOf(row: Row): KeptArrival {
  const { number, kind, id, pseudonym, at_ms, body } = row;
  return {
    ...originOf(row),
    number: Number(number),
    kind: kind as ArrivalKind,
    id: id as string,
    ...(pseudonym !== null && { pseudonym: pseudonym as string }),
    atMs: Number(at_ms),
    body: body as string,
  };
}

function modelOf({ digest, site, parent, job, made_ms, state, windows, labels, deployment }: Row): Model {
  return {
    digest: digest as string,
    site: site as string,
    parent: parent as string,
    job: job as string,
    madeMs: Number(made_ms),
    state: state as Model['state'],
    windows: JSON.parse(windows as string),
    labels: JSON.parse(labels as string),
    ...(deployment !== null && { deployment: deployment as string }),
  };
}
