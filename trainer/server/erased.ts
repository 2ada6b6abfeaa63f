import type { AdapterStatement } from '../../runtime/contracts/adaptation.ts';
import type { Queries, Row } from './database.ts';
import type { Model } from './store.ts';

/** What stands for an erased pseudonym in the results of jobs. */
export const ERASED = 'erased';

/**
 * Whether a new model, or what it was made from, learned from what is no longer in the books. An erasure keeps no list of whom it erased: a job that ran
 * meanwhile is known by its windows and labels, one that was done by what stands in its result.
 */
export async function learnedFromErased(
  queries: Queries,
  { site, parent, windows, labels }: Model,
  pseudonyms: readonly string[],
): Promise<boolean> {
  if (pseudonyms.includes(ERASED)) return true;
  const tainted = await queries.all(`SELECT digest FROM models WHERE digest = ? AND state = 'tainted'`, parent);
  if (tainted.length > 0) return true;
  const rows = await queries.all('SELECT gateway, stream, epoch, end_sequence FROM windows WHERE site = ?', site);
  const left = new Set(rows.map(({ gateway, stream, epoch, end_sequence }) => `${gateway}/${stream}/${epoch}/${end_sequence}`));
  if (windows.some((key) => !left.has(key))) return true;
  const erased = await queries.all(`SELECT id FROM arrivals WHERE site = ? AND kind = 'label' AND state = 'erased'`, site);
  return erased.some(({ id }) => labels.includes(id as string));
}

/** In what a job tells. */
export async function forgetPseudonyms(queries: Queries, job: string): Promise<void> {
  for (const { result } of await queries.all('SELECT result FROM jobs WHERE id = ? AND result IS NOT NULL', job))
    await queries.all(
      'UPDATE jobs SET result = ? WHERE id = ?',
      ...[JSON.stringify({ ...JSON.parse(result as string), pseudonyms: [] }), job],
    );
}

/** Numbers of the adapters that learned from an annotator's labels, or on a stream that an asset's signals came of. */
export async function adaptersOf(queries: Queries, pseudonym: string): Promise<number[]> {
  const place = ({ site, gateway, stream }: Row) => `${site}/${gateway}/${stream}`;
  const signals = await queries.all(`SELECT site, gateway, stream FROM arrivals WHERE kind = 'signal' AND pseudonym = ?`, pseudonym);
  const places = new Set(signals.map(place));
  const adapters = await queries.all(
    `SELECT number, site, gateway, stream, body FROM arrivals WHERE kind = 'adapter' AND state <> 'erased'`,
  );
  const isOf = (row: Row) => {
    const { statement } = JSON.parse(row.body as string) as { statement: AdapterStatement };
    return places.has(place(row)) || statement.labels.some(({ annotator }) => annotator === pseudonym);
  };
  return adapters.filter(isOf).map(({ number }) => Number(number));
}
