import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { GATEWAY_ENVIRONMENT } from '../../runtime/gateway-environment.ts';

export interface GatewayProcess {
  readonly process: ChildProcess;
  /** What it has logged so far. */
  log(): string;
  /** Resolves when it has ended. */
  stop(): Promise<void>;
}

/**
 * Starts the device's own program as a process of its own and waits until it listens.
 *
 * @param programs folder of gateway.js
 * @throws Error with its last words where it ends before
 */
export async function startGatewayProcess(configuration: Record<string, unknown>, programs: URL): Promise<GatewayProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'tremolo-gateway-'));
  const path = join(folder, 'gateway.yaml');
  await writeFile(path, stringify(configuration));
  const child = spawn(process.execPath, [fileURLToPath(new URL('gateway.js', programs)), path, '--with-parent'], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { ...process.env, ...GATEWAY_ENVIRONMENT },
  });
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let text = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8');
    child.stderr.on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('"listening"')) resolve();
    });
    child.once('error', reject);
    void ended.then((code) => reject(new Error(`the gateway ended with ${code}: ${text.trim().split('\n').at(-1)}`)));
  });
  return {
    process: child,
    log: () => text,
    async stop() {
      child.kill('SIGTERM');
      // A gateway that does not end by itself must not outlive its parent.
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
