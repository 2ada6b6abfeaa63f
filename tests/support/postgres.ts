import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { vi } from 'vitest';
import { freePort } from './live-gateway.ts';

/** Where Debian puts the programs: nowhere on the path. */
const FOLDERS = existsSync('/usr/lib/postgresql')
  ? readdirSync('/usr/lib/postgresql').map((version) => `/usr/lib/postgresql/${version}/bin`)
  : [];
const BIN = FOLDERS.find((folder) => existsSync(join(folder, 'initdb')));

export const POSTGRES = BIN !== undefined;

export interface Cluster {
  /** A fresh database. */
  database(): Promise<string>;
  stop(): Promise<unknown>;
}

/** Postgres refuses to be root: then its own user runs it. */
function runAs(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

/** A real Postgres in a folder of its own, on loopback. Without a disk's promises: what is tested is not Postgres. */
export async function startPostgres(): Promise<Cluster> {
  const user = runAs();
  const folder = join(await mkdtemp(join(tmpdir(), 'tremolo-postgres-')), 'data');
  mkdirSync(folder);
  if (user.uid !== undefined) {
    chownSync(folder, user.uid, user.gid!);
    chownSync(join(folder, '..'), user.uid, user.gid!);
  }
  const made = spawnSync(join(BIN!, 'initdb'), ['-D', folder, '-U', 'tremolo', '-A', 'trust', '-N', '-E', 'UTF8', '--locale=C'], {
    ...user,
    cwd: '/',
    encoding: 'utf8',
  });
  if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
  const port = await freePort();
  const options = ['-D', folder, '-h', '127.0.0.1', '-p', String(port), '-k', '', '-c', 'fsync=off', '-c', 'shared_buffers=16MB'];
  const child: ChildProcess = spawn(join(BIN!, 'postgres'), options, { ...user, cwd: '/', stdio: 'ignore' });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const url = (database: string) => `postgres://tremolo@127.0.0.1:${port}/${database}`;
  const ask = async (sql: string) => {
    const client = new pg.Client({ connectionString: url('postgres') });
    try {
      await client.connect();
      await client.query(sql);
    } finally {
      await client.end().catch(() => {});
    }
  };
  await vi.waitFor(() => ask('SELECT 1'), { timeout: 30_000, interval: 50 });
  let databases = 0;
  return {
    async database() {
      const name = `test${++databases}`;
      await ask(`CREATE DATABASE ${name}`);
      return url(name);
    },
    stop() {
      child.kill('SIGINT');
      return gone;
    },
  };
}
