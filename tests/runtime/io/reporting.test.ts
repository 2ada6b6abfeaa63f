import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Status } from '../../../runtime/contracts/messages.ts';
import { LimitedLog } from '../../../runtime/io/limited-log.ts';
import { renderMetrics } from '../../../runtime/io/metrics.ts';
import { createServiceNotifier } from '../../../runtime/io/service-notifier.ts';

describe('a limited log', () => {
  it('says each kind of trouble once a minute, and how often it kept silent', () => {
    const lines: unknown[] = [];
    let now = 0;
    const log = new LimitedLog({ warn: (...line: unknown[]) => void lines.push(line) } as never, 60_000, () => now);
    for (now = 0; now < 59_000; now += 100) for (const kind of ['a', 'b']) log.warn(kind, { kind }, 'trouble');
    expect(lines).toEqual([
      [{ kind: 'a' }, 'trouble'],
      [{ kind: 'b' }, 'trouble'],
    ]);
    now = 60_000;
    log.warn('a', { kind: 'a' }, 'trouble');
    expect(lines.at(-1)).toEqual([{ kind: 'a', alsoSilenced: 589 }, 'trouble']);
  });
});

describe('metrics', () => {
  const status: Status = {
    state: 'online',
    gateway: 'g',
    version: '1',
    bundle: { name: 'a "b"\\c\nd', digest: 'f00' },
    framesRefused: { badCrc: 3, 'serial.crcErrors': 1 },
  };

  it('are in the text format: one head a metric, its samples together, labels escaped', () => {
    const lines = renderMetrics(status).trimEnd().split('\n');
    expect(lines).toContain('tremolo_info{version="1",bundle="a \\"b\\"\\\\c\\nd",digest="f00",engine=""} 1');
    expect(lines).toContain('tremolo_frames_refused_total{cause="serial.crcErrors"} 1');
    const heads = lines.filter((line) => line.startsWith('# TYPE')).map((line) => line.split(' ')[2]);
    expect(new Set(heads).size).toBe(heads.length);
    for (const line of lines.filter((one) => !one.startsWith('#')))
      expect(line).toMatch(/^[a-z_]+(\{([a-z]+="(\\.|[^"\\\n])*",?)+\})? -?\d+(\.\d+)?$/);
  });
});

const has = (program: string) => spawnSync(program, ['--version']).error === undefined;

describe.skipIf(!has('systemd-notify') || !has('python3'))('systemd (skipped without systemd-notify, and python3 for its end)', () => {
  const before = { ...process.env };
  afterEach(() => {
    process.env = { ...before };
  });

  it('hears that the gateway is ready, well, not well, and stopping', async () => {
    const path = join(await mkdtemp(join(tmpdir(), 'tremolo-notify-')), 'socket');
    const listen = `import socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); s.bind(sys.argv[1]); print("bound",flush=True)
while True: print(s.recv(4096).decode().replace("\\n"," "),flush=True)`;
    const child = spawn('python3', ['-c', listen, path]);
    let heard = '';
    child.stdout.on('data', (chunk) => {
      heard += chunk;
    });
    const hears = (text: string) => vi.waitFor(() => expect(heard).toContain(text), { timeout: 20_000, interval: 20 });
    await hears('bound');
    process.env.NOTIFY_SOCKET = path;
    process.env.WATCHDOG_USEC = '200000';
    let sick: string | undefined;
    const errors: Error[] = [];
    const notifier = createServiceNotifier(
      () => sick,
      (error) => errors.push(error),
    );
    notifier.ready();
    await hears('READY=1');
    await hears('WATCHDOG=1');
    sick = 'stalled';
    await new Promise((resolve) => setTimeout(resolve, 300));
    const well = heard.split('WATCHDOG=1').length;
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(heard.split('WATCHDOG=1').length).toBe(well);
    notifier.stopping();
    await hears('STOPPING=1');
    child.kill();
    expect(errors).toEqual([]);
  });
});
