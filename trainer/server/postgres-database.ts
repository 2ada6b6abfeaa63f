import pg from 'pg';
import { Refusal } from '../refusal.ts';
import type { Database, Queries, Row } from './database.ts';

/** Somebody else's transaction came in between (SQLSTATE): the same work, once more, may well succeed. */
const TRY_AGAIN = new Set(['40001', '40P01']);
const MOST_TRIES = 20;

/** The driver gives 64-bit integers as text; ours are counts and milliseconds. */
const types = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => (oid === 20 ? Number : pg.types.getTypeParser(oid, format as 'text')),
};

/** `?` as Postgres counts them: $1, $2, …; what is counted already stays as it is. */
const numbered = (sql: string): string => {
  if (sql.includes('$1')) return sql;
  let count = 0;
  return sql.replace(/\?/g, () => `$${++count}`);
};

const queriesOf = (client: Pick<pg.Pool, 'query'>): Queries => ({
  all: async (sql, ...values) => (await client.query(numbered(sql), values)).rows as Row[],
});

/**
 * A Postgres database, 12 or later, by its URL.
 *
 * @throws Refusal server/database where it cannot be reached
 */
export async function openPostgres(url: string): Promise<Database> {
  const pool = new pg.Pool({ connectionString: url, types: types as never, max: 8 });
  // A connection that breaks while it is idle is replaced; without a listener it would end the process.
  pool.on('error', () => {});
  await pool.query('SELECT 1').catch(async (cause: Error) => {
    await pool.end();
    // The URL has a password in it.
    throw new Refusal('server/database', `the database of DATABASE_URL cannot be reached (${cause.message}); is it running?`, { cause });
  });
  return {
    name: 'postgres',
    ...queriesOf(pool),
    async transaction(work) {
      for (let tries = 1; ; tries++) {
        const client = await pool.connect();
        try {
          await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE');
          const result = await work(queriesOf(client));
          await client.query('COMMIT');
          return result;
        } catch (error) {
          await client.query('ROLLBACK').catch(() => {});
          if (!TRY_AGAIN.has((error as { code?: string }).code ?? '') || tries === MOST_TRIES) throw error;
        } finally {
          client.release();
        }
      }
    },
    nowMs: async () => Number((await pool.query('SELECT floor(extract(epoch FROM clock_timestamp()) * 1000) AS ms')).rows[0].ms),
    close: () => pool.end(),
  };
}
