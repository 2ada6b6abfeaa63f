import { createHash } from 'node:crypto';
import PgBoss from 'pg-boss';
import { Refusal } from '../refusal.ts';
import type { Queries } from './database.ts';
import type { Dispatch } from './jobs.ts';

const QUEUE = 'tremolo-jobs';

/** pg-boss gives no job up by itself: leases say who lives, and jobs.ts how often another may try. */
const NEVER = { retryLimit: 1_000_000, retryDelay: 0, expireInHours: 23 } as const;

/** pg-boss knows jobs by UUID: the first 16 bytes of the name's SHA-256, marked as version 8 (RFC 9562, 5.8). */
function uuidOf(id: string): string {
  const bytes = createHash('sha256').update(id).digest();
  bytes[6] = (bytes[6] & 0x0f) | 0x80;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString('hex', 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** Runs pg-boss's statements within our transaction. */
const within = (queries: Queries): PgBoss.Db => ({
  executeSql: async (text, values) => ({ rows: (await queries.all(text, ...(values as never[]))) as never[] }),
});

/**
 * Deals jobs out through pg-boss, whose rows are locked and skipped by Postgres itself: any number of workers, on any number of machines.
 *
 * @throws Refusal server/database
 */
export async function openBossDispatch(url: string, onError: (error: Error) => void): Promise<Dispatch> {
  // Schedules are not used, and what is over may go: the books are ours.
  const boss = new PgBoss({ connectionString: url, schedule: false, max: 4 });
  boss.on('error', onError);
  await boss
    .start()
    .then(() => boss.createQueue(QUEUE))
    .catch((cause: Error) => {
      throw new Refusal('server/database', `pg-boss cannot start (${cause.message}); may this user of DATABASE_URL create a schema?`, {
        cause,
      });
    });
  return {
    async announce(queries, id) {
      await boss.send(QUEUE, { id }, { id: uuidOf(id), ...NEVER, db: within(queries) });
    },
    async next(queries) {
      const [job] = await boss.fetch<{ id: string }>(QUEUE, { db: within(queries) });
      return job?.data.id;
    },
    async again(queries, id) {
      await boss.fail(QUEUE, uuidOf(id), {}, { db: within(queries) });
    },
    async over(queries, id) {
      await boss.complete(QUEUE, uuidOf(id), {}, { db: within(queries) });
    },
    async close() {
      await boss.stop({ graceful: false, wait: true });
      // Its connections end a little later; a database that is gone by then is nobody's trouble any more.
      boss.off('error', onError).on('error', () => {});
    },
  };
}
