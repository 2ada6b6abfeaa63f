import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';

export const MOSQUITTO = spawnSync('mosquitto', ['-h']).error === undefined;

/** mosquitto with a configuration of its own, listening. @returns ends it */
export async function startMosquitto(lines: readonly string[], port: number): Promise<() => Promise<unknown>> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-mosquitto-'));
  chmodSync(folder, 0o755);
  const path = join(folder, 'mosquitto.conf');
  writeFileSync(path, [`listener ${port} 127.0.0.1`, ...lines, ''].join('\n'));
  const child: ChildProcess = spawn('mosquitto', ['-c', path], { stdio: 'ignore' });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  const tryConnect = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy();
        resolve();
      });
      socket.once('error', reject);
    });
  await vi.waitFor(tryConnect, { timeout: 20_000, interval: 10 });
  return () => {
    child.kill('SIGKILL');
    return gone;
  };
}
