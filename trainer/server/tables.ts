import type { Database } from './database.ts';

/**
 * All that the server remembers. `state` of an arrival: `kept`, `quarantined` (with its reason: nothing is learned from it) or `erased`.
 *
 * Times are milliseconds since 1970, bodies JSON, samples and files base64.
 */
const TABLES = [
  `CREATE TABLE IF NOT EXISTS arrivals (
    number SERIAL_KEY, site TEXT NOT NULL, gateway TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, stream TEXT NOT NULL,
    pseudonym TEXT, at_ms BIGINT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, UNIQUE (site, gateway, kind, id))`,
  `CREATE TABLE IF NOT EXISTS windows (
    site TEXT NOT NULL, gateway TEXT NOT NULL, stream TEXT NOT NULL, epoch BIGINT NOT NULL, end_sequence BIGINT NOT NULL,
    signal TEXT NOT NULL, asset TEXT NOT NULL, scales TEXT NOT NULL, codes TEXT NOT NULL,
    PRIMARY KEY (site, gateway, stream, epoch, end_sequence))`,
  `CREATE TABLE IF NOT EXISTS metrics (number SERIAL_KEY, name TEXT NOT NULL, at_ms BIGINT NOT NULL, value DOUBLE PRECISION NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS marks (site TEXT PRIMARY KEY, through BIGINT NOT NULL)`,
  `CREATE TABLE IF NOT EXISTS gateway_keys (site TEXT NOT NULL, gateway TEXT NOT NULL, public_key TEXT NOT NULL, PRIMARY KEY (site, gateway))`,
  `CREATE TABLE IF NOT EXISTS models (
    digest TEXT PRIMARY KEY, site TEXT NOT NULL, parent TEXT NOT NULL, job TEXT NOT NULL, made_ms BIGINT NOT NULL, state TEXT NOT NULL,
    windows TEXT NOT NULL, labels TEXT NOT NULL, deployment TEXT)`,
  `CREATE TABLE IF NOT EXISTS model_pseudonyms (digest TEXT NOT NULL, pseudonym TEXT NOT NULL, PRIMARY KEY (digest, pseudonym))`,
  `CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, site TEXT NOT NULL, input TEXT NOT NULL, state TEXT NOT NULL, added_ms BIGINT NOT NULL,
    attempts INTEGER NOT NULL, worker TEXT, token TEXT, lease_ms BIGINT, ended_ms BIGINT, result TEXT, reason TEXT, effect TEXT)`,
];

/** Makes what is not there yet. */
export async function makeTables(database: Database): Promise<void> {
  const key = database.name === 'sqlite' ? 'INTEGER PRIMARY KEY AUTOINCREMENT' : 'BIGSERIAL PRIMARY KEY';
  // Two processes of Postgres that make the same table at once would disturb each other.
  await database.transaction(async (queries) => {
    if (database.name === 'postgres') await queries.all('SELECT pg_advisory_xact_lock(7243)');
    for (const table of TABLES) await queries.all(table.replace('SERIAL_KEY', key));
  });
}
