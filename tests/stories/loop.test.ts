import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LoopDisk, readLoopDisk } from '../../trainer/demo/loop/disk.ts';
import { judgeLoop, LOOP_STEPS, type LoopTruth, type LoopVerdict } from '../../trainer/demo/loop/judge.ts';
import { type Message, readTraffic } from '../../trainer/demo/loop/traffic.ts';
import { type EndedCommand, tremolo } from '../support/tremolo-command.ts';

let folder: string;
let ended: EndedCommand;
let messages: Message[];
let truth: LoopTruth;
let disk: LoopDisk;

beforeAll(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'tremolo-loop-')), 'kept');
  ended = await tremolo('demo', '--fast', '--keep', folder, '--json');
  messages = await readTraffic(join(folder, 'traffic.ndjson'));
  truth = JSON.parse(await readFile(join(folder, 'truth.json'), 'utf8'));
  disk = await readLoopDisk(folder, truth.site);
}, 240_000);
afterAll(() => rm(join(folder, '..'), { recursive: true, force: true }));

const told = <T>({ text }: Message) => JSON.parse(text ?? '{}') as T;
const kind = ({ topic }: Message) => topic.split('/')[4];
interface Said {
  readonly epoch: number;
  readonly adapter: number;
  readonly bundle: string;
  readonly phase: string;
  readonly confirmed: readonly string[];
}

/** Decisions on the machine that changes. */
const decided = (isGone: (said: Said) => boolean) => (message: Message) =>
  !(kind(message) === 'diagnosis' && message.topic.endsWith(`/${truth.stream}`) && isGone(told<Said>(message)));

describe('npm start', () => {
  it('closes the loop: degraded, noticed, labelled, adapted, retrained, pushed', () => {
    expect(ended.code, ended.stderr).toBe(0);
    const { loopClosed, steps } = ended.report as unknown as LoopVerdict;
    expect(loopClosed).toBe(true);
    expect(steps.map(({ name }) => name)).toEqual(LOOP_STEPS);
    const accuracy = (name: string) => steps.find((step) => step.name === name)!.accuracy!;
    expect(accuracy('decides')).toBeGreaterThan(0.9);
    expect(accuracy('degrades')).toBeLessThan(accuracy('decides') - 0.2);
    expect(accuracy('recovers')).toBeGreaterThan(0.9);
    expect(accuracy('holds')).toBeGreaterThan(0.9);
    for (const { name } of steps) expect(ended.stdout).toMatch(new RegExp(` s  ${name}`));
  });

  it('is judged alike from the recorded traffic and the disks alone', () => {
    const { loopClosed, steps } = ended.report as unknown as LoopVerdict;
    expect(judgeLoop(messages, truth, disk)).toEqual({ loopClosed, steps });
  });

  it.each<[string, (message: Message) => boolean]>([
    ['decides', decided(({ epoch }) => epoch === 0)],
    ['degrades', decided(({ epoch, adapter, bundle }) => epoch > 0 && adapter === 0 && truth.bundle.startsWith(bundle))],
    ['drift', (message) => kind(message) !== 'drift'],
    ['labels', (message) => kind(message) !== 'label'],
    ['labels', (message) => kind(message) !== 'labelled'],
    ['adapts', (message) => kind(message) !== 'adaptation'],
    ['adapts', (message) => kind(message) !== 'status'],
    ['recovers', decided(({ adapter }) => adapter > 0)],
    ['retrains', (message) => kind(message) !== 'update'],
    ['shadow', (message) => kind(message) !== 'update' || told<Said>(message).phase !== 'shadow'],
    ['active', (message) => kind(message) !== 'update' || !told<Partial<Said>>(message).confirmed?.length],
    ['holds', decided(({ bundle }) => !truth.bundle.startsWith(bundle))],
  ])('is not closed without what %s rests on', (name, isLeft) => {
    const verdict = judgeLoop(
      messages.filter((message) => isLeft(message)),
      truth,
      disk,
    );
    expect(verdict).toMatchObject({ loopClosed: false, missing: { name } });
  });

  it.each<[string, Partial<LoopDisk>]>([
    ['adapts', { learned: {} }],
    ['retrains', { models: [] }],
    ['retrains', { rollouts: [] }],
    ['signs', { signed: [] }],
  ])('is not closed where the disks do not hold what %s rests on', (name, lost) => {
    expect(judgeLoop(messages, truth, { ...disk, ...lost })).toMatchObject({ loopClosed: false, missing: { name } });
  });

  it('is not closed by labels that came before the change, or that are wrong', () => {
    const early = messages.map((message) => (kind(message) === 'label' ? { ...message, ms: 0 } : message));
    expect(judgeLoop(early, truth, disk)).toMatchObject({ loopClosed: false, missing: { name: 'labels' } });
    const stretches = truth.stretches.map((one) => (one.changed ? { ...one, class: 'rub' } : one));
    expect(judgeLoop(messages, { ...truth, stretches }, disk)).toMatchObject({ loopClosed: false, missing: { name: 'labels' } });
  });

  it('does not take a folder that holds something', async () => {
    const { code, stderr } = await tremolo('demo', '--fast', '--keep', folder);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^demo\/keep: /);
  });
});
