import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { processClock } from './process-clock.ts';

/** Debian puts it where only root's PATH looks. */
const PROGRAMS = ['mosquitto', '/usr/sbin/mosquitto'];

export interface Mosquitto {
  readonly url: string;
  readonly version: string;
  cpuMs(): number;
  stop(): Promise<void>;
}

/** The program and its version, or undefined where it is not installed. */
export function findMosquitto(): { readonly program: string; readonly version: string } | undefined {
  for (const program of PROGRAMS) {
    try {
      const text = execFileSync(program, ['-h'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      return { program, version: /version (\S+)/.exec(text)?.[1] ?? 'unknown' };
    } catch (error) {
      // `-h` ends with 3 in some versions, and prints all the same.
      const text = (error as { stdout?: string }).stdout;
      if (text) return { program, version: /version (\S+)/.exec(text)?.[1] ?? 'unknown' };
    }
  }
  return undefined;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts it on loopback with nothing on disk and no limit of its own on what may wait, so that what is lost, is lost by the gateway. */
export async function startMosquitto(folder: string, found: NonNullable<ReturnType<typeof findMosquitto>>): Promise<Mosquitto> {
  const port = await freePort();
  const path = join(folder, 'mosquitto.conf');
  await writeFile(
    path,
    [`listener ${port} 127.0.0.1`, 'allow_anonymous true', 'persistence false', 'max_queued_messages 0', 'set_tcp_nodelay true', ''].join(
      '\n',
    ),
  );
  const child: ChildProcess = spawn(found.program, ['-c', path], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.once('error', () => {});
  while (!(await answers(port))) {
    if (child.exitCode !== null) throw new Error(`mosquitto ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const clock = processClock(child.pid!);
  return {
    url: `mqtt://127.0.0.1:${port}`,
    version: found.version,
    cpuMs: () => clock.cpuMs(),
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
