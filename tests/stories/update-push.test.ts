import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { liveGateway, observe, sendNoise } from '../support/live-gateway.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { adapterFile, renamed } from '../support/update-site.ts';

const TREMOLO = new URL('../../dist/tremolo.js', import.meta.url).pathname;
const execute = promisify(execFile);
const patient = { timeout: 40_000, interval: 20 };

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function tremolo(...args: string[]): Promise<{ code: number; report: Record<string, unknown>; stderr: string }> {
  const { stdout, stderr, code } = await execute(process.execPath, [TREMOLO, ...args], { maxBuffer: 1 << 24 }).then(
    (result) => ({ ...result, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
  const last = stdout.trim().split('\n').at(-1) ?? '';
  return { code, stderr, report: last.startsWith('{') ? JSON.parse(last) : {} };
}

describe('tremolo push to a live gateway', () => {
  it('brings an adapter and a bundle that are proved, refuses one that is worse on live windows, and goes back on a word', async () => {
    const broker = await startEmbeddedBroker();
    open.push(() => broker.close());
    const home = await mkdtemp(join(tmpdir(), 'tremolo-push-'));
    const fleet = join(home, 'fleet');
    expect(await tremolo('keys', 'init', '--out', fleet, '--site', 'plant')).toMatchObject({ code: 0 });
    await copyFile(join(fleet, '1.root.json'), join(home, 'root.json'));
    const [factory, other] = [await makeTinyBundle(), await makeTinyBundle(7)];
    const worse = await renamed(other.bundle, 'worse', ['knock', 'rattle', 'hum']);
    const gateway = await liveGateway({ bundle: factory.folder, broker: { url: broker.url }, update: { root: 'root.json' } }, home);
    open.push(() => gateway.stop());
    const { client } = await observe(broker.url);
    open.push(() => client.endAsync(true));
    let at = 0;
    const timer = setInterval(() => {
      for (const stream of ['a', 'b']) void sendNoise(client, stream, at, 64);
      at += 64;
    }, 10);
    open.push(async () => clearInterval(timer));

    const push = (...args: string[]) =>
      tremolo(
        'push',
        ...args,
        '--to',
        'plant/hall',
        '--shadow-windows',
        '20',
        '--settle',
        '0s',
        '--latency',
        '10000',
        '--repository',
        fleet,
        '--broker',
        broker.url,
        '--json',
      );
    const bytes = adapterFile(factory.bundle, 3);
    const path = join(home, 'adapter.safetensors');
    await writeFile(path, bytes);
    const adapter = await push(path, '--stream', 'a');
    expect(adapter, adapter.stderr).toMatchObject({ code: 0, report: { status: 'finished', confirmed: 1 } });
    const digest = createHash('sha256').update(bytes).digest('hex');
    expect(gateway.status().running?.adapters).toEqual({ a: digest });

    const refused = await push(worse.folder);
    expect(refused, refused.stderr).toMatchObject({ code: 1, report: { status: 'failed', failed: 1 } });
    expect(gateway.status()).toMatchObject({ bundle: { digest: factory.bundle.digest }, running: { adapters: { a: digest } } });

    const accepted = await push(other.folder, '--agreement', '0', '--alarm-change', '1');
    expect(accepted, accepted.stderr).toMatchObject({ code: 0, report: { status: 'finished', confirmed: 1 } });
    expect(gateway.status().bundle?.digest).toBe(other.bundle.digest);

    const back = await tremolo('fleet', 'rollback', '--repository', fleet, '--broker', broker.url, '--json');
    expect(back, back.stderr).toMatchObject({ code: 0 });
    await vi.waitFor(
      () => expect(gateway.status()).toMatchObject({ bundle: { digest: factory.bundle.digest }, running: { adapters: { a: digest } } }),
      patient,
    );
  });
});
