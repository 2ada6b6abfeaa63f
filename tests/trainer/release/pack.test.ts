import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { encodeFrame } from '../../../firmware-bridge/codec/index.ts';
import { createMachine, FULL_SCALE_G, MachineSimulator } from '../../../firmware-bridge/simulator/pure/index.ts';
import { readBundle } from '../../../models/bundle/bundle.ts';
import { type Diagnosis, diagnosisSchema } from '../../../runtime/contracts/messages.ts';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { connectBroker } from '../../../runtime/io/broker-client.ts';
import { type EmbeddedBroker, startEmbeddedBroker } from '../../../trainer/io/broker.ts';
import { PACK_TARGETS } from '../../../trainer/release/pack-targets.ts';

const execute = promisify(execFile);
const ROOT = new URL('../../../', import.meta.url).pathname;
const TOPICS = gatewayTopics('plant-1', 'hall-3');
const FRAMES = 16;

let folder: string;
let broker: EmbeddedBroker;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tremolo-pack-'));
  broker = await startEmbeddedBroker();
});
afterAll(async () => {
  await broker.close();
  await rm(folder, { recursive: true, force: true });
});

async function tremolo(...args: string[]): Promise<{ code: number; stderr: string; report: Record<string, unknown> }> {
  const { code, stdout, stderr } = await execute(process.execPath, [join(ROOT, 'dist/tremolo.js'), ...args]).then(
    (result) => ({ ...result, code: 0 }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  const last = stdout.trim().split('\n').at(-1) ?? '';
  return { code, stderr, report: last.startsWith('{') ? JSON.parse(last) : {} };
}

/** Packs for a target and moves the folder to where nothing else is. */
async function packed(target: string, ...more: string[]): Promise<{ place: string; report: Record<string, unknown> }> {
  const out = join(await mkdtemp(join(folder, 'made-')), 'gateway');
  const identity = ['--site', 'plant-1', '--gateway', 'hall-3', '--broker', broker.url];
  const { code, stderr, report } = await tremolo('pack', '--target', target, ...identity, '--out', out, '--json', ...more);
  expect(code, stderr).toBe(0);
  const place = join(await mkdtemp(join(tmpdir(), 'tremolo-empty-')), 'opt');
  await cp(out, place, { recursive: true });
  await rm(out, { recursive: true });
  return { place, report };
}

let running: ChildProcess | undefined;
afterEach(async () => {
  const child = running;
  running = undefined;
  if (!child || child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
});

/** Starts the gateway in its folder with an empty environment and waits until it says something. */
async function start(place: string, program: readonly string[]): Promise<{ decidingMs: number }> {
  const [command, ...before] = program;
  const began = performance.now();
  running = spawn(command, [...before, 'app/gateway.js', 'gateway.yaml'], {
    cwd: place,
    env: { PATH: '/usr/bin:/bin' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let words = '';
  let decidingMs = Number.NaN;
  await new Promise<void>((resolve, reject) => {
    running!.stderr!.setEncoding('utf8').on('data', (chunk: string) => {
      words += chunk;
      if (Number.isNaN(decidingMs) && words.includes('"deciding"')) decidingMs = performance.now() - began;
      if (words.includes('"listening"') && words.includes('"deciding"')) resolve();
    });
    running!.once('exit', (code) => reject(new Error(`the gateway ended with ${code}: ${words}`)));
    running!.once('error', reject);
  });
  return { decidingMs };
}

/** Plays a simulated machine to the gateway; the diagnoses in the order of the windows. */
async function decisions(): Promise<Diagnosis[]> {
  const simulator = new MachineSimulator({ machine: createMachine({ seed: 7 }), condition: 'bearing_outer', seed: 1 });
  const scale = FULL_SCALE_G / 32_767;
  const client = connectBroker(broker.url, () => {});
  try {
    const got: Diagnosis[] = [];
    client.on('message', (_topic, payload) => void got.push(diagnosisSchema.parse(JSON.parse(payload.toString()))));
    const stream = `press-${Math.random().toString(36).slice(2)}`;
    await client.subscribeAsync(TOPICS.diagnosis(stream), { qos: 1 });
    const physical = new Float32Array(3 * 64);
    for (let frame = 0; frame < FRAMES; frame++) {
      simulator.next(physical);
      const bytes = encodeFrame({
        kind: 'samples',
        streamId: 0,
        epoch: 0,
        sequence: 64 * frame,
        deviceTimeUs: 64_000 * frame,
        sampleRateHz: 1000,
        shaftSpeedRpm: undefined,
        channelCount: 3,
        samplesPerChannel: 64,
        scales: new Float32Array(3).fill(scale),
        samples: Int16Array.from(physical, (value) => Math.max(-32_767, Math.min(32_767, Math.round(value / scale)))),
      });
      await client.publishAsync(TOPICS.samples(stream), Buffer.from(bytes), { qos: 1 });
    }
    while (got.length < 3) {
      if (running?.exitCode !== null) throw new Error('the gateway ended');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(got.map(({ endSequence }) => endSequence)).toEqual([512, 768, 1024]);
    return got;
  } finally {
    await client.endAsync(true);
  }
}

/** Largest difference of a probability. */
const difference = (one: readonly Diagnosis[], other: readonly Diagnosis[]) =>
  Math.max(
    ...one.flatMap(({ probabilities }, window) => probabilities.map((value, at) => Math.abs(value - other[window].probabilities[at]))),
  );

const host = `${process.platform}-${process.arch}`;
const isHostPacked = host === 'linux-x64' || host === 'linux-arm64';
const isGlibc = 'glibcVersionRuntime' in (process.report.getReport() as { header: object }).header;

describe('a packed gateway', () => {
  let reference: Diagnosis[] | undefined;

  it.skipIf(!isHostPacked || !isGlibc)('starts in an empty place and decides a stream', async () => {
    const { place, report } = await packed(host);
    const { decidingMs } = await start(place, [process.execPath]);
    const size = `${((report.bytes as number) / 1e6).toFixed(1)} MB`;
    process.stderr.write(`packed ${host}: ${size}, from start to the first possible decision ${decidingMs.toFixed(0)} ms\n`);
    reference = await decisions();
    const { manifest, digest } = await readBundle(join(place, 'bundle'));
    for (const { decision, bundle } of reference) {
      expect(manifest.classes).toContain(decision);
      expect(digest.startsWith(bundle)).toBe(true);
    }
    // Its state lies beside its configuration where no service manager says otherwise, and nowhere else.
    expect((await readdir(join(place, '..'))).sort()).toEqual(['opt']);
  });

  it.skipIf(!isHostPacked || !isGlibc)(
    'refuses a wrong configuration with one line while its inference thread loads: every time',
    async () => {
      const { place } = await packed(host);
      await writeFile(join(place, 'gateway.yaml'), 'site: plant-1\nnonsense: 1\n');
      for (let time = 0; time < 8; time++) {
        const refused = await execute(process.execPath, ['app/gateway.js', 'gateway.yaml'], { cwd: place }).catch(
          (error: unknown) => error,
        );
        expect(refused).toMatchObject({ code: 2, signal: null, stderr: expect.stringMatching(/^config\/invalid: /) });
      }
    },
  );

  it('starts on the wasm engine where onnxruntime is not, and decides the same', async () => {
    const { place } = await packed('any');
    expect(existsSync(join(place, 'app/native/libonnxruntime.so.1'))).toBe(false);
    await start(place, [process.execPath]);
    const own = await decisions();
    // Stated bound of the engines' agreement, which the bundle's known answers check at each start as well.
    if (reference) expect(difference(own, reference)).toBeLessThan(0.02);
    else expect(own).toHaveLength(3);
  }, 120_000);

  const arm64 = process.env.TREMOLO_ARM64;
  const noArm64 = !arm64
    ? 'TREMOLO_ARM64 names no folder made by .ci/arm64'
    : existsSync('/usr/bin/qemu-aarch64')
      ? undefined
      : 'qemu-user is not installed';
  it.skipIf(noArm64)(
    `starts on an emulated Cortex-A53, decides the same, and is smaller than 30 MB${noArm64 ? ` (${noArm64})` : ''}`,
    async () => {
      const { place, report } = await packed('linux-arm64');
      expect(report.bytes).toBeLessThan(30e6);
      const sysroot = join(arm64!, 'root');
      await start(place, ['/usr/bin/qemu-aarch64', '-cpu', 'cortex-a53', '-L', sysroot, join(sysroot, 'node/bin/node')]);
      const own = await decisions();
      if (reference) expect(difference(own, reference)).toBeLessThan(0.02);
    },
    300_000,
  );
});

describe('the folder', () => {
  it.each(Object.keys(PACK_TARGETS) as (keyof typeof PACK_TARGETS)[])('for %s has all of its own and nothing of others', async (target) => {
    const { place, report } = await packed(target);
    const { engine } = PACK_TARGETS[target];
    expect(report).toMatchObject({ target, engine });
    expect((await readdir(place)).sort()).toEqual(['app', 'bundle', 'gateway.yaml', 'install.sh', 'tremolo.service', 'trust']);
    const files = (await readdir(place, { recursive: true })).map(String);
    expect(files.filter((name) => name.includes('node_modules'))).toEqual([]);
    expect(files.filter((name) => /\.(so\.1|node)$/.test(name)).length).toBe(
      Object.keys(PACK_TARGETS[target].serial).length + (engine === 'onnxruntime' ? 2 : 0),
    );
    expect(files.some((name) => name.endsWith('.wasm'))).toBe(engine === 'wasm');
    const { manifest } = await readBundle(join(place, 'bundle'), ['core', 'adapt']);
    for (const name of Object.keys(manifest.parts.server ?? {})) expect(files).not.toContain(`bundle/${name}`);
    expect(parse(await readFile(join(place, 'gateway.yaml'), 'utf8'))).toMatchObject({ site: 'plant-1', gateway: 'hall-3', engine });
    await execute('sh', ['-n', join(place, 'install.sh')]);
    expect((await stat(join(place, 'install.sh'))).mode & 0o111).toBe(0o111);
    expect((await stat(place)).mode & 0o777).toBe(0o755);
  });

  it.skipIf(!isHostPacked)('takes its Node along, and no Node of another processor', async () => {
    const { place } = await packed(host, '--with-node');
    const { stdout } = await execute(join(place, 'node/bin/node'), ['--version']);
    expect(stdout.trim()).toBe(process.version);
    expect(await readFile(join(place, 'tremolo.service'), 'utf8')).toContain('ExecStart=/opt/tremolo/node/bin/node /opt/tremolo/app');
  });

  const analyze = existsSync('/usr/bin/systemd-analyze');
  it.skipIf(!analyze)(`has a unit that systemd understands${analyze ? '' : ' (systemd-analyze is not installed)'}`, async () => {
    const { place } = await packed('any');
    const unit = (await readFile(join(place, 'tremolo.service'), 'utf8')).replaceAll('/opt/tremolo', place);
    await writeFile(join(place, 'tremolo.service'), unit);
    const { stdout, stderr } = await execute('systemd-analyze', ['verify', '--man=no', join(place, 'tremolo.service')]);
    expect((stdout + stderr).split('\n').filter((line) => line.includes('tremolo.service'))).toEqual([]);
  });
});

it('needs no package at run time', () => {
  const { outputs } = JSON.parse(readFileSync(join(ROOT, 'dist/packed.meta.json'), 'utf8')) as {
    outputs: Record<string, { imports: { path: string; external?: boolean }[] }>;
  };
  const external = Object.values(outputs).flatMap(({ imports }) => imports.filter((one) => one.external).map(({ path }) => path));
  // Asked for inside a try block, and done without.
  const known = ['bufferutil', 'encoding', 'supports-color', 'utf-8-validate'];
  const packages = [...new Set(external)].filter((path) => !isBuiltin(path) && !path.startsWith('./native/'));
  expect(packages.filter((name) => !known.includes(name))).toEqual([]);
});

describe('bad input gives one line and exit code 2', () => {
  const good = ['--target', 'any', '--site', 's', '--gateway', 'g', '--broker', 'mqtt://127.0.0.1', '--out'];
  const instead = (name: string, value: string) => good.map((word, at) => (good[at - 1] === name ? value : word));
  it.each([
    [[], /usage\/arguments: --target/],
    [[...instead('--target', 'amiga'), 'x'], /usage\/choice: --target/],
    [[...instead('--site', 'a/b'), 'x'], /^usage\/arguments: --site must/],
    [[...instead('--broker', 'http://x'), 'x'], /^usage\/arguments: --broker must/],
    [[...good, ROOT], /pack\/occupied/],
    [[...good, 'x', '--bundle', '/nowhere'], /bundle\/missing/],
    [[...good, 'x', '--node', join(ROOT, 'package.json')], /pack\/node/],
    [[...instead('--target', 'linux-armv7'), 'x', '--node', process.execPath], /pack\/node: .*another processor/],
    [[...instead('--target', 'linux-armv7'), 'x', '--with-node'], /pack\/node: .*--node FILE/],
  ])('tremolo pack %s', async (args, message) => {
    const inFolder = args.map((word) => (word === 'x' ? join(folder, 'never') : word));
    const { code, stderr } = await tremolo('pack', ...inFolder);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect((await readdir(folder)).filter((name) => name.startsWith('never'))).toEqual([]);
  });
});
