import type { ServerConfiguration } from './configuration.ts';
import type { Database } from './database.ts';
import { Jobs } from './jobs.ts';
import { openSqlite } from './sqlite-database.ts';
import { Store } from './store.ts';

export interface Books {
  readonly kind: Database['name'];
  readonly store: Store;
  readonly jobs: Jobs;
  close(): Promise<void>;
}

/** Store and jobs, in Postgres where there is a URL of one, else in a file. @throws Refusal server/database */
export async function openBooks(
  { database: path, lease }: Pick<ServerConfiguration, 'database' | 'lease'>,
  url: string | undefined,
  onError: (error: Error) => void,
): Promise<Books> {
  if (!url) return booksOf(openSqlite(path), (database) => new Jobs(database, lease));
  // Only who asks for Postgres pays for it.
  const { openPostgres } = await import('./postgres-database.ts');
  const { openBossDispatch } = await import('./boss-dispatch.ts');
  const dispatch = await openBossDispatch(url, onError);
  return booksOf(await openPostgres(url), (database) => new Jobs(database, lease, dispatch));
}

async function booksOf(database: Database, jobsOf: (database: Database) => Jobs): Promise<Books> {
  const store = await Store.open(database);
  const jobs = jobsOf(database);
  return {
    kind: database.name,
    store,
    jobs,
    async close() {
      await jobs.close();
      await database.close();
    },
  };
}
