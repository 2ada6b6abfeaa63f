import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { encodeSafetensors } from '../../models/bundle/schema/safetensors.ts';
import { connectBroker } from '../../runtime/io/broker-client.ts';
import { type EmbeddedBroker, startEmbeddedBroker } from '../../trainer/io/broker.ts';
import { BASE, type Behaviour, SimulatedGateway } from '../support/simulated-gateway.ts';
import { makeTinyBundle } from '../support/tiny-bundle.ts';
import { beginTremolo, tremolo } from '../support/tremolo-command.ts';

const patient = { timeout: 50_000, interval: 20 };

let folder: string;
let bundle: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-rollout-'));
  bundle = (await makeTinyBundle()).folder;
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let broker: EmbeddedBroker;
let fleet: string;
let gateways: SimulatedGateway[];
let runs = 0;
beforeEach(async () => {
  broker = await startEmbeddedBroker();
  fleet = join(folder, `fleet-${runs++}`);
  gateways = [];
  const { code, stderr } = await tremolo('keys', 'init', '--out', fleet, '--site', 'plant');
  expect(code, stderr).toBe(0);
});
afterEach(async () => {
  for (const gateway of gateways) await gateway.stop();
  await broker.close();
});

async function gatewaysOf(behaviours: Readonly<Record<string, Behaviour>>): Promise<Record<string, SimulatedGateway>> {
  const root = await readFile(join(fleet, '1.root.json'));
  const made: Record<string, SimulatedGateway> = {};
  for (const [name, behaviour] of Object.entries(behaviours)) {
    made[name] = new SimulatedGateway(broker.url, 'plant', name, root, behaviour);
    gateways.push(made[name]);
    await made[name].start();
  }
  return made;
}

const here = () => ['--repository', fleet, '--broker', broker.url, '--json'];
const push = (...args: string[]) => beginTremolo('push', ...args, '--settle', '0s', ...here());

async function adapterFile(value: number): Promise<string> {
  const path = join(folder, `adapter-${value}.safetensors`);
  const weights = { type: 'float32' as const, shape: [2000], values: new Float32Array(2000).fill(value) };
  await writeFile(path, encodeSafetensors({ tensors: { weights }, metadata: { base: BASE } }));
  return path;
}

describe('a push', () => {
  it('goes in waves to a whole site, each chunk once, and can be taken back', async () => {
    const { a, b, c } = await gatewaysOf({ a: 'confirms', b: 'confirms', c: 'confirms' });
    const { code, report, stderr } = await push(bundle, '--to', 'plant/*', '--waves', '1,100%').ended;
    expect(code, stderr).toBe(0);
    expect(report).toMatchObject({ status: 'finished', confirmed: 3, failed: 0 });
    const { chunksPublished, chunksDistinct, refusals } = report.counters as Record<string, number>;
    // The canary's wave and the others' each carry the objects; two gateways that ask at once cost what one does.
    expect(chunksPublished).toBeLessThan(2.5 * chunksDistinct);
    expect(refusals).toBeGreaterThan(0);
    expect(stderr).toContain('group 1 of 2: 1 gateways, successful');
    expect(stderr).toContain('plant/c confirmed');
    const deployment = report.deployment as string;
    for (const gateway of [a, b, c]) expect(gateway.ran).toEqual([deployment]);

    const status = await tremolo('fleet', 'status', ...here());
    expect(status.stdout).toMatch(/plant\/b +online +0\.1\.0 .*confirmed/);
    const digest = (report.target as { sha256: string }).sha256;
    for (const gateway of status.report.gateways as { bundle: { digest: string } }[]) expect(gateway.bundle.digest).toBe(digest);

    const second = (await push(await adapterFile(1), '--to', 'plant/a,plant/b', '--stream', 's').ended).report.deployment as string;
    const some = await tremolo('fleet', 'rollback', 'plant/*', ...here(), '--reason', 'one step back');
    expect(some.code, some.stderr).toBe(0);
    // From each its newest; whom all have left is over.
    expect(some.report.rollouts).toMatchObject([
      { deployment: second, status: 'rolledBack', reason: 'one step back' },
      { deployment, status: 'finished', confirmed: 2, gateways: { 'plant/c': { outcome: 'recalled', error: 'one step back' } } },
    ]);
    expect([a.ran, b.ran, c.ran]).toEqual([
      [deployment, second, 'factory'],
      [deployment, second, 'factory'],
      [deployment, 'factory'],
    ]);
    expect((await tremolo('fleet', 'status', ...here())).stdout).toContain('plant/c taken back: one step back');
    const nothing = await tremolo('fleet', 'rollback', 'plant/c', ...here());
    expect([nothing.code, nothing.stderr]).toEqual([
      2,
      expect.stringContaining('fleet/rollout: nothing to take back: plant/c runs nothing'),
    ]);

    const back = await tremolo('fleet', 'rollback', ...here(), '--reason', 'too many false alarms in hall 3');
    expect(back.code, back.stderr).toBe(0);
    expect(back.report).toMatchObject({ deployment, status: 'rolledBack', reason: 'too many false alarms in hall 3' });
    for (const gateway of [a, b]) expect(gateway.ran).toEqual([deployment, second, 'factory', 'factory']);
    expect(c.ran).toEqual([deployment, 'factory']);
  });

  it('stops at a canary that fails: it is withdrawn with the reason, and the fleet stays', async () => {
    const { a, b, c } = await gatewaysOf({ a: 'refuses', b: 'confirms', c: 'confirms' });
    const { code, report, stdout } = await push(bundle, '--to', 'plant/a,plant/b,plant/c', '--waves', '1,100%').ended;
    expect(code).toBe(1);
    expect(report).toMatchObject({ status: 'failed', confirmed: 0, failed: 1 });
    expect(stdout).toContain('1 of 1 gateways of group 1 failed, more than 10 %; plant/a: update/agreement');
    for (const gateway of [a, b, c]) expect(gateway.ran).toEqual([]);
    // A second push still works.
    a.behaviour = 'confirms';
    const again = await push(bundle, '--to', 'plant/*', '--waves', '100%').ended;
    expect(again.code, again.stderr).toBe(0);
    expect(again.report).toMatchObject({ confirmed: 3 });
  });

  it('that was good stays when a later one fails and goes back', async () => {
    const { a, b } = await gatewaysOf({ a: 'confirms', b: 'confirms' });
    const toAll = ['--to', 'plant/*', '--stream', 'press', '--waves', '1,100%'];
    const good = await push(await adapterFile(1), ...toAll).ended;
    expect(good.code, good.stderr).toBe(0);
    b.behaviour = 'refuses';
    const bad = await push(await adapterFile(2), ...toAll).ended;
    expect(bad.code).toBe(1);
    const [first, second] = [good, bad].map(({ report }) => report.deployment as string);
    await vi.waitFor(() => expect(a.ran).toEqual([first, second, first]), patient);
    expect(b.ran).toEqual([first]);
    const { report } = await tremolo('fleet', 'status', ...here());
    const statuses = (shown: unknown) => (shown as { status: string }[]).map(({ status }) => status);
    expect([statuses(report.rollouts), report.older]).toEqual([['finished', 'failed'], 0]);
    // Of what is over the last three are shown, of what is not all.
    for (const value of [3, 4]) await push(await adapterFile(value), ...toAll).ended;
    const last = await tremolo('fleet', 'status', ...here());
    expect([statuses(last.report.rollouts), last.report.older]).toEqual([['failed', 'failed', 'failed'], 1]);
    expect(last.stdout).toContain('and 1 older: --all');
    expect(statuses((await tremolo('fleet', 'status', '--all', ...here())).report.rollouts)).toHaveLength(4);
  });

  it('goes on where a killed process left it, by --resume', async () => {
    const { a, b, c } = await gatewaysOf({ a: 'confirms', b: 'ignores', c: 'confirms' });
    const killed = push(bundle, '--to', 'plant/a,plant/b,plant/c', '--waves', '1,2,3');
    await vi.waitFor(() => expect(killed.stderr()).toContain('group 2 of 3'), patient);
    killed.child.kill('SIGKILL');
    await killed.ended;
    const id = /--resume (\S+)/.exec(killed.stderr())![1];
    b.behaviour = 'confirms';
    // Who had not come as far as that looks again with the next timestamp: the new server's.
    const resumed = await tremolo('push', '--resume', id, ...here());
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.report).toMatchObject({ deployment: id, status: 'finished', confirmed: 3 });
    for (const gateway of [a, b, c]) expect(gateway.ran).toEqual([id]);
    // Once more: it is over, and that is what it says.
    const again = await tremolo('push', '--resume', id, ...here());
    expect([again.code, again.report.status]).toEqual([0, 'finished']);
  });

  it('is led on by a server that runs beside it, and by the push when that is killed', async () => {
    await gatewaysOf({ a: 'confirms', b: 'ignores' });
    const server = beginTremolo('serve', ...here());
    await vi.waitFor(() => expect(server.stderr()).toContain('serving'), patient);
    const pushing = push(await adapterFile(3), '--stream', 'press', '--to', 'plant/a,plant/b', '--waves', '1,2');
    await vi.waitFor(() => expect(pushing.stderr()).toContain('group 2 of 2'), patient);
    gateways[1].behaviour = 'confirms';
    server.child.kill('SIGKILL');
    const { code, report, stderr } = await pushing.ended;
    expect(code, stderr).toBe(0);
    expect(report).toMatchObject({ status: 'finished', confirmed: 2 });
  });

  it('waits while paused, and goes back when it is aborted', async () => {
    const { a, b } = await gatewaysOf({ a: 'confirms', b: 'ignores' });
    const pushing = push(await adapterFile(4), '--stream', 'press', '--to', 'plant/a,plant/b', '--waves', '1,2');
    await vi.waitFor(() => expect(pushing.stderr()).toContain('group 2 of 2'), patient);
    expect((await tremolo('fleet', 'pause', '--repository', fleet)).code).toBe(0);
    const { code, report } = await pushing.ended;
    expect(code).toBe(1);
    expect(report).toMatchObject({ status: 'paused', reason: 'paused by hand' });
    const other = await push(await adapterFile(5), '--stream', 'press', '--to', 'plant/a').ended;
    expect(other.code).toBe(2);
    expect(other.stderr).toMatch(/^push\/busy: /);
    const aborted = await tremolo('fleet', 'abort', ...here());
    expect(aborted.code, aborted.stderr).toBe(0);
    expect(aborted.report).toMatchObject({ status: 'aborted' });
    expect(a.ran).toEqual([report.deployment, 'factory']);
    expect(b.ran).toEqual([]);
  });

  it('shows in a dry run who would get it, and writes nothing', async () => {
    await gatewaysOf({ a: 'confirms', b: 'confirms', c: 'confirms' });
    const before = await readFile(join(fleet, 'timestamp.json'));
    const { code, stdout, report } = await push(bundle, '--to', 'plant/*,version=0.1.0', '--waves', '1,100%', '--dry-run').ended;
    expect(code).toBe(0);
    expect(stdout).toContain('group 1: plant/a\ngroup 2: plant/b plant/c\n');
    expect(report).toEqual({ dryRun: true });
    expect((await readFile(join(fleet, 'timestamp.json'))).equals(before)).toBe(true);
  });

  it('says at once of whom it would wait for in vain: a name never heard, and a gateway that takes no updates', async () => {
    await gatewaysOf({ a: 'confirms' });
    const client = connectBroker(broker.url, () => {});
    const status = JSON.stringify({ state: 'online', version: '0.1.0' });
    await client.publishAsync('tremolo/v1/plant/deaf/status', status, { qos: 1, retain: true });
    await client.endAsync();
    const { code, stderr } = await push(bundle, '--to', 'plant/a,plant/nobody,plant/deaf', '--dry-run').ended;
    expect(code).toBe(0);
    expect(stderr).toContain('plant/nobody: the broker knows no such gateway');
    expect(stderr).toContain('plant/deaf takes no updates (update.root is not set');
    expect(stderr).not.toContain('plant/a');
  });
});
