import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'libsql';
import { Refusal } from '../refusal.ts';
import type { Database, Queries, Row } from './database.ts';

/** Longest that one process waits for another's transaction. */
const BUSY_MS = 10_000;

/**
 * A database in a file. Write-ahead log, and every commit down to the disk: a power cut loses nothing that was promised.
 *
 * @throws Refusal server/database
 */
export function openSqlite(path: string): Database {
  let file: Sqlite.Database;
  try {
    mkdirSync(dirname(path), { recursive: true });
    file = new Sqlite(path, { timeout: BUSY_MS });
    file.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
    file.exec('PRAGMA journal_mode = WAL');
    file.exec('PRAGMA synchronous = FULL');
    // What is erased is overwritten, not only forgotten.
    file.exec('PRAGMA secure_delete = ON');
  } catch (cause) {
    throw new Refusal('server/database', `${path} cannot be opened (${(cause as Error).message}); name another file`, { cause });
  }
  const queries: Queries = {
    async all(sql, ...values) {
      const statement = file.prepare(sql);
      if (statement.reader) return statement.all(...values) as Row[];
      statement.run(...values);
      return [];
    },
  };
  // One connection: what others ask for must not slip into an open transaction.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work);
    last = turn.catch(() => {});
    return turn;
  };
  return {
    name: 'sqlite',
    all: (sql, ...values) => inTurn(() => queries.all(sql, ...values)),
    transaction: (work) =>
      inTurn(async () => {
        // At once for writing: two that begin by reading could each wait for the other.
        file.exec('BEGIN IMMEDIATE');
        try {
          const result = await work(queries);
          file.exec('COMMIT');
          return result;
        } catch (error) {
          file.exec('ROLLBACK');
          throw error;
        }
      }),
    nowMs: async () => Date.now(),
    close: () =>
      inTurn(async () => {
        file.close();
      }),
  };
}
