import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Target, UPDATE_PHASES, type UpdatePhase } from '../../../runtime/contracts/update.ts';
import { nextStep, type Step, startMachine, type UpdateEvent, type UpdateMachine } from '../../../runtime/update/machine.ts';
import {
  decodeRecord,
  encodeRecord,
  FACTORY_RECORD,
  neededObjects,
  OWN,
  type Slot,
  type UpdateRecord,
  type Wanted,
} from '../../../runtime/update/record.ts';
import { UPDATE_REFUSALS } from '../../../runtime/update/refusal.ts';
import { afterStart, afterUnproved, afterUnstarted } from '../../../runtime/update/revert.ts';

const hex = (letter: string) => letter.repeat(64);
const LIMITS = { shadowWindows: 10, shadowSeconds: 1.5, agreement: 0.9, latencyMs: 5, alarmShareChange: 0.1, memoryBytes: 100 };
const RUNNING = { bundle: hex('f'), base: hex('e') };

function wanted(number: number, more: Partial<Target> & { digest?: string } = {}): Wanted {
  const { digest = hex(String(number % 10)), ...target } = more;
  const common = {
    deployment: `d${number}`,
    number,
    gateways: ['g'],
    withdrawn: false,
    thresholds: LIMITS,
    budgetBytes: 1000,
    platforms: [],
  };
  const own = target.kind === 'adapter' ? { base: RUNNING.base, stream: 's' } : { kind: 'bundle', parts: ['core'] };
  return { target: { ...common, ...own, ...target } as Target, sha256: digest, length: 10 };
}

const slotOf = ({ target, sha256 }: Wanted): Slot => ({
  deployment: target.deployment,
  number: target.number,
  digest: sha256,
  objects: [sha256],
});

function machineOf(record: Partial<UpdateRecord> = {}, more: Partial<UpdateMachine> = {}): UpdateMachine {
  return { ...startMachine({ ...FACTORY_RECORD, ...record }, RUNNING).machine, ...more };
}

const kinds = ({ effects }: Step) => effects.map(({ kind }) => kind);
const WARM = { latencyMs: 5, memoryBytes: 100 };
const SHADOW = { windows: 10, agreement: 0.9, alarmShareChange: 0.1, ...WARM };

/** Feeds a machine one event after the other. */
function run(machine: UpdateMachine, ...events: UpdateEvent[]): Step {
  return events.reduce<Step>((step, event) => nextStep(step.machine, event), { machine, effects: [] });
}

const FIRST = wanted(1);
const TO_ACTIVE: readonly UpdateEvent[] = [
  { kind: 'timestamp' },
  { kind: 'trusted', wanted: [FIRST] },
  { kind: 'fetched' },
  { kind: 'verified', slot: slotOf(FIRST) },
  { kind: 'answered' },
  { kind: 'warm', report: WARM },
  { kind: 'shadowed', report: SHADOW },
];
const PROVED_RUNNING = { bundle: FIRST.sha256, base: hex('d') };
const PROVED: UpdateEvent = { kind: 'running', running: PROVED_RUNNING, settled: [] };

/** A machine in each phase, on its way with a bundle. */
const IN: Record<UpdatePhase, UpdateMachine> = {
  idle: machineOf(),
  metadata: run(machineOf(), ...TO_ACTIVE.slice(0, 1)).machine,
  fetch: run(machineOf(), ...TO_ACTIVE.slice(0, 2)).machine,
  verify: run(machineOf(), ...TO_ACTIVE.slice(0, 3)).machine,
  answers: run(machineOf(), ...TO_ACTIVE.slice(0, 4)).machine,
  warmup: run(machineOf(), ...TO_ACTIVE.slice(0, 5)).machine,
  shadow: run(machineOf(), ...TO_ACTIVE.slice(0, 6)).machine,
  active: run(machineOf(), ...TO_ACTIVE, PROVED).machine,
  confirmed: run(machineOf(), ...TO_ACTIVE, PROVED, { kind: 'stood' }).machine,
  rolledBack: run(machineOf(), ...TO_ACTIVE, PROVED, { kind: 'failed', code: 'update/engine', error: 'x' }).machine,
  refused: run(machineOf(), ...TO_ACTIVE.slice(0, 2), { kind: 'failed', code: 'update/hash', error: 'x' }).machine,
};

const EVENTS: Record<UpdateEvent['kind'], UpdateEvent> = {
  timestamp: { kind: 'timestamp' },
  trusted: { kind: 'trusted', wanted: [FIRST] },
  untrusted: { kind: 'untrusted', error: 'update/rollback: old' },
  fetched: { kind: 'fetched' },
  verified: { kind: 'verified', slot: slotOf(FIRST) },
  answered: { kind: 'answered' },
  warm: { kind: 'warm', report: WARM },
  shadowed: { kind: 'shadowed', report: SHADOW },
  running: PROVED,
  stood: { kind: 'stood' },
  failed: { kind: 'failed', code: 'update/answers', error: 'wrong' },
  spent: { kind: 'spent', bytes: 7 },
};

/** Where an event leads, and what is to be done then; what is not here changes neither phase nor record. */
const LEADS: Record<UpdatePhase, Partial<Record<UpdateEvent['kind'], readonly [UpdatePhase, ...string[]]>>> = {
  idle: { timestamp: ['metadata', 'refresh'], trusted: ['idle'] },
  metadata: { trusted: ['fetch', 'fetch'], untrusted: ['refused'] },
  fetch: { timestamp: ['fetch', 'refresh'], fetched: ['verify', 'verify'], failed: ['refused', 'cancel', 'collect'], spent: ['fetch'] },
  verify: {
    timestamp: ['verify', 'refresh'],
    verified: ['answers', 'answers'],
    failed: ['refused', 'cancel', 'collect'],
    spent: ['verify'],
  },
  answers: {
    timestamp: ['answers', 'refresh'],
    answered: ['warmup', 'warmUp'],
    failed: ['refused', 'cancel', 'collect'],
    spent: ['answers'],
  },
  warmup: { timestamp: ['warmup', 'refresh'], warm: ['shadow', 'shadow'], failed: ['refused', 'cancel', 'collect'], spent: ['warmup'] },
  shadow: {
    timestamp: ['shadow', 'refresh'],
    shadowed: ['active', 'cancel', 'activate'],
    failed: ['refused', 'cancel', 'collect'],
    spent: ['shadow'],
  },
  active: {
    timestamp: ['active', 'refresh'],
    running: ['active', 'watch'],
    stood: ['confirmed', 'collect'],
    failed: ['rolledBack', 'cancel', 'activate', 'collect'],
  },
  confirmed: { timestamp: ['metadata', 'refresh'] },
  rolledBack: { timestamp: ['metadata', 'activate', 'refresh'] },
  refused: { timestamp: ['metadata', 'refresh'] },
};

describe.each(UPDATE_PHASES)('in the phase %s', (phase) => {
  it('is reached by the way that the life of an update has', () => expect(IN[phase].phase).toBe(phase));

  it.each(Object.keys(EVENTS) as UpdateEvent['kind'][])('%s leads where the table says', (kind) => {
    const before = IN[phase];
    const step = nextStep(before, EVENTS[kind]);
    const [next = phase, ...effects] = LEADS[phase][kind] ?? [];
    expect([step.machine.phase, ...kinds(step)]).toEqual([next, ...effects]);
    if (!LEADS[phase][kind]) expect(step.machine.record).toBe(before.record);
  });

  it('a failure leaves what decided before, or what decides, and a record that a restart can read', () => {
    const { machine } = nextStep(IN[phase], EVENTS.failed);
    expect(machine.record.active).toBe(phase === 'confirmed' ? 'a' : 'factory');
    expect(machine.record.trial).toBeUndefined();
    expect(decodeRecord(encodeRecord(machine.record))).toEqual(JSON.parse(JSON.stringify(machine.record)));
  });
});

describe('a candidate', () => {
  it.each([
    ['update/latency', { kind: 'warm', report: { ...WARM, latencyMs: 5.01 } }, 'warmup'],
    ['update/memory', { kind: 'warm', report: { ...WARM, memoryBytes: 101 } }, 'warmup'],
    ['update/latency', { kind: 'warm', report: { ...WARM, latencyMs: Number.NaN } }, 'warmup'],
    ['update/agreement', { kind: 'shadowed', report: { ...SHADOW, agreement: 0.89 } }, 'shadow'],
    ['update/alarm-share', { kind: 'shadowed', report: { ...SHADOW, alarmShareChange: 0.11 } }, 'shadow'],
    ['update/memory', { kind: 'shadowed', report: { ...SHADOW, memoryBytes: 101 } }, 'shadow'],
  ] as const)('beyond its threshold is refused as %s, and is not tried again', (code, event, phase) => {
    const { machine, effects } = nextStep(IN[phase], event);
    expect(machine).toMatchObject({ phase: 'refused', record: { active: 'factory', failed: [{ deployment: 'd1' }] } });
    expect(machine.error).toMatch(code);
    expect(effects.map(({ kind }) => kind)).toEqual(['cancel', 'collect']);
    expect(run(machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: [FIRST] }).effects).toEqual([]);
  });

  it('that could not be fetched is tried again with the next timestamp, and what it cost so far counts', () => {
    const { machine } = run(IN.fetch, { kind: 'spent', bytes: 300 }, { kind: 'failed', code: 'update/missing', error: 'gone' });
    expect(machine).toMatchObject({ phase: 'refused', record: { failed: [] } });
    const { effects } = run(machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: [FIRST] });
    expect(effects).toMatchObject([{ kind: 'fetch', spentBytes: 300 }]);
  });

  it('on trial that a disk takes down gives way, keeps its objects, and is tried again with the next timestamp', () => {
    const step = nextStep(IN.active, { kind: 'failed', code: 'update/disk', error: 'EIO' });
    expect(step.machine).toMatchObject({ phase: 'rolledBack', record: { active: 'factory', slots: {}, failed: [], trial: undefined } });
    expect(kinds(step)).toEqual(['cancel', 'activate']);
    const back = nextStep(step.machine, { kind: 'running', running: RUNNING, settled: [] });
    expect(run(back.machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: [FIRST] }).effects).toMatchObject([
      { kind: 'fetch', wanted: FIRST },
    ]);
  });

  it.each(['update/disk', 'update/engine'] as const)(
    'that still decides, for the way back failed too (%s), is not called confirmed',
    (code) => {
      const eio: UpdateEvent = { kind: 'failed', code: 'update/disk', error: 'EIO' };
      const astray = run(IN.active, { kind: 'failed', code, error: 'EIO' }, eio);
      const looked = nextStep(astray.machine, { kind: 'timestamp' });
      expect(kinds(looked)).toEqual(['activate', 'refresh']);
      const failedAgain = run(looked.machine, eio, EVENTS.trusted);
      expect(failedAgain).toMatchObject({ machine: { phase: 'rolledBack', record: { confirmed: [], active: 'factory' } }, effects: [] });
      const there = run(failedAgain.machine, { kind: 'timestamp' }, { kind: 'running', running: RUNNING, settled: [] }, EVENTS.trusted);
      expect(kinds(there)).toEqual(code === 'update/disk' ? ['fetch'] : []);
    },
  );

  it('that could not be fetched and is then withdrawn is forgotten, with what came of it', () => {
    const { machine } = nextStep(IN.fetch, { kind: 'failed', code: 'update/missing', error: 'gone' });
    expect(machine.record.current).toBeDefined();
    const withdrawn = run(machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: [] });
    expect(withdrawn.machine.record.current).toBeUndefined();
    expect(kinds(withdrawn)).toEqual(['collect']);
  });

  it('that another digest is proved to run of is rolled back', () => {
    const activated = run(machineOf(), ...TO_ACTIVE);
    const step = nextStep(activated.machine, { kind: 'running', running: RUNNING, settled: [] });
    expect(step.machine).toMatchObject({ phase: 'rolledBack', record: { active: 'factory' } });
    expect(kinds(step)).toEqual(['cancel', 'activate', 'collect']);
  });

  it.each(['fetch', 'verify', 'answers', 'warmup', 'shadow'] as const)(
    'is given up in %s when it is withdrawn or a newer one comes',
    (phase) => {
      expect(kinds(nextStep(IN[phase], { kind: 'trusted', wanted: [] }))).toEqual(['cancel', 'collect']);
      const second = wanted(2);
      const step = nextStep(IN[phase], { kind: 'trusted', wanted: [second, FIRST] });
      expect(step.effects).toMatchObject([{ kind: 'cancel' }, { kind: 'collect' }, { kind: 'fetch', wanted: second }]);
    },
  );

  it('on trial is left when it is withdrawn', () => {
    const step = nextStep(IN.active, { kind: 'trusted', wanted: [] });
    expect(step.machine).toMatchObject({ phase: 'rolledBack', record: { active: 'factory', failed: [{ deployment: 'd1' }] } });
  });
});

describe('what is wanted', () => {
  const confirmed = IN.confirmed;
  const look = (machine: UpdateMachine, ...list: Wanted[]) => run(machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: list });

  it('is the highest number; what runs already needs nothing', () => {
    expect(look(confirmed, FIRST).effects).toEqual([]);
    expect(look(machineOf(), FIRST, wanted(3), wanted(2)).effects).toMatchObject([{ wanted: { target: { number: 3 } } }]);
  });

  it('is a bundle before its adapters, and adapters of the base that runs', () => {
    const adapter = wanted(2, { kind: 'adapter' });
    const stranger = wanted(3, { kind: 'adapter', base: hex('c'), stream: 't' });
    expect(look(machineOf(), adapter, FIRST).effects).toMatchObject([{ wanted: FIRST }]);
    expect(look(machineOf(), adapter, stranger).effects).toMatchObject([{ wanted: adapter }]);
    expect(look(machineOf(), stranger).effects).toEqual([]);
  });

  it('is confirmed at once where the same bytes run under another name', () => {
    const again = wanted(2, { digest: FIRST.sha256 });
    expect(look(confirmed, again, FIRST).machine).toMatchObject({
      phase: 'confirmed',
      record: { confirmed: ['d1', 'd2'], slots: { a: { deployment: 'd2' } } },
    });
  });

  it('goes back to the factory’s where nothing else is left, without proving what ran before', () => {
    const step = look(confirmed);
    expect(step.machine).toMatchObject({ phase: 'rolledBack', record: { active: 'factory', failed: [{ deployment: 'd1' }] } });
    expect(kinds(step)).toEqual(['activate', 'collect']);
  });

  it('goes back to what lies in the other slot, and fetches what lies nowhere', () => {
    const second = wanted(2);
    const both = machineOf(
      { active: 'b', slots: { a: slotOf(FIRST), b: slotOf(second) } },
      { running: { ...RUNNING, bundle: second.sha256 } },
    );
    expect(look(both, FIRST)).toMatchObject({
      machine: { phase: 'rolledBack', record: { active: 'a' } },
      effects: [{ kind: 'activate' }, { kind: 'collect' }],
    });
    const old = wanted(1, { digest: hex('9') });
    const fetching = look(both, old);
    expect(fetching.effects).toMatchObject([{ kind: 'fetch', wanted: old }]);
    const back = run(fetching.machine, { kind: 'fetched' }, { kind: 'verified', slot: slotOf(old) }, { kind: 'answered' });
    expect(back.machine).toMatchObject({ phase: 'active', record: { active: 'a', failed: [{ deployment: 'd2' }] } });
  });

  it('is looked for once more where a timestamp comes while one is being verified', () => {
    const step = run(machineOf(), { kind: 'timestamp' }, { kind: 'timestamp' }, { kind: 'trusted', wanted: [] });
    expect(kinds(step)).toEqual(['refresh']);
  });
});

describe('a look at the metadata that begins while something is on trial', () => {
  const restarted = startMachine(IN.active.record, RUNNING).machine;
  const look: UpdateEvent = { kind: 'timestamp' };

  it.each([
    ['before the metadata are verified', [look, EVENTS.stood, EVENTS.trusted]],
    ['after they are', [look, EVENTS.trusted, EVENTS.stood]],
    ['before any timestamp has come', [EVENTS.stood, look, EVENTS.trusted]],
  ])('after a restart ends well where the trial ends %s', (_when, events) => {
    expect(run({ ...restarted, running: PROVED_RUNNING }, ...events).machine).toMatchObject({
      phase: 'confirmed',
      record: { active: 'a', confirmed: ['d1'], failed: [] },
    });
  });

  it.each([
    ['confirmed', EVENTS.stood],
    ['rolledBack', EVENTS.failed],
  ] as const)('finds what was pushed meanwhile, though it is %s by then', (phase, end) => {
    const there: UpdateEvent = { kind: 'running', running: phase === 'confirmed' ? PROVED_RUNNING : RUNNING, settled: [] };
    const rested = run(IN.active, look, end, there);
    expect(rested.machine).toMatchObject({ phase, looking: true });
    const second = wanted(2);
    expect(nextStep(rested.machine, { kind: 'trusted', wanted: [second, FIRST] })).toMatchObject({
      machine: { phase: 'fetch', looking: false },
      effects: [{ kind: 'fetch', wanted: second }],
    });
    expect(nextStep(rested.machine, EVENTS.untrusted).machine).toMatchObject({ phase: 'refused', error: 'update/rollback: old' });
  });
});

it('metadata that are verified on the way back are looked at again when it has come to its end', () => {
  const back = run(IN.active, { kind: 'timestamp' }, { kind: 'failed', code: 'update/disk', error: 'EIO' }, EVENTS.trusted);
  expect(back).toMatchObject({ machine: { phase: 'rolledBack', record: { confirmed: [] } }, effects: [] });
  const there = nextStep(back.machine, { kind: 'running', running: RUNNING, settled: [] });
  expect(kinds(there)).toEqual(['refresh']);
  expect(nextStep(there.machine, EVENTS.trusted).effects).toMatchObject([{ kind: 'fetch', wanted: FIRST }]);
});

describe('an adapter', () => {
  const adapter = wanted(2, { kind: 'adapter' });
  const active = run(
    machineOf(),
    { kind: 'timestamp' },
    { kind: 'trusted', wanted: [adapter] },
    { kind: 'fetched' },
    { kind: 'verified' },
    { kind: 'answered' },
    { kind: 'warm', report: WARM },
    { kind: 'shadowed', report: SHADOW },
  );

  it('takes its stream’s place, and is on its way there until the bank has it', () => {
    expect(active.machine.record).toMatchObject({ active: 'factory', adapters: { s: { digest: adapter.sha256 } }, unsettled: ['s'] });
    const settled = run(active.machine, { kind: 'running', running: RUNNING, settled: ['s'] });
    expect(settled.machine.record.unsettled).toEqual([]);
    expect(nextStep(settled.machine, { kind: 'stood' }).machine).toMatchObject({ phase: 'confirmed', record: { confirmed: ['d2'] } });
  });

  it('that fails gives its place back to what the gateway had learned itself, which nobody can withdraw', () => {
    const own = { deployment: OWN, number: 0, digest: hex('8'), base: RUNNING.base };
    const verified = run(
      machineOf(),
      { kind: 'timestamp' },
      { kind: 'trusted', wanted: [adapter] },
      { kind: 'fetched' },
      { kind: 'verified', replaces: own.digest },
    );
    expect(neededObjects(verified.machine.record)).toContain(own.digest);
    const failed = run(
      verified.machine,
      { kind: 'answered' },
      { kind: 'warm', report: WARM },
      { kind: 'shadowed', report: SHADOW },
      EVENTS.failed,
    );
    expect(failed.machine).toMatchObject({ phase: 'rolledBack', record: { adapters: { s: own }, unsettled: ['s'] } });
    expect(run(failed.machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: [] }).effects).toEqual([]);
  });

  it('that fails gives its place back to the one before', () => {
    const before = { deployment: 'd1', number: 1, digest: hex('7'), base: RUNNING.base };
    const machine = {
      ...active.machine,
      record: { ...active.machine.record, trial: { ...active.machine.record.trial!, previous: before } as UpdateRecord['trial'] },
    };
    expect(nextStep(machine, EVENTS.failed).machine.record).toMatchObject({ adapters: { s: before }, unsettled: ['s'], trial: undefined });
    expect(nextStep(active.machine, EVENTS.failed).machine.record.adapters).toEqual({});
  });
});

describe('an adapter of a base that no longer runs', () => {
  it('is not taken for withdrawn, and is there when its base returns', () => {
    const adapter = wanted(2, { kind: 'adapter' });
    const kept = { s: { deployment: 'd2', number: 2, digest: adapter.sha256, base: RUNNING.base } };
    const elsewhere = machineOf({ adapters: kept }, { running: { ...RUNNING, base: hex('0') } });
    expect(run(elsewhere, { kind: 'timestamp' }, { kind: 'trusted', wanted: [adapter] })).toMatchObject({
      effects: [],
      machine: { record: { adapters: kept } },
    });
    const back = machineOf({ adapters: kept });
    expect(run(back, { kind: 'timestamp' }, { kind: 'trusted', wanted: [adapter] }).effects).toEqual([]);
    expect(run(back, { kind: 'timestamp' }, { kind: 'trusted', wanted: [] }).machine.record).toMatchObject({
      adapters: {},
      unsettled: ['s'],
    });
  });
});

describe('after a start', () => {
  it.each(['answers', 'warmup', 'shadow', 'active'] as const)(
    'a gateway that crashed three times in %s gives the candidate up',
    (phase) => {
      /** The gateway has started, and has come to where it crashed before. */
      const there = (record: UpdateRecord) => (phase === 'active' ? record : { ...record, current: { ...record.current!, probing: true } });
      const twice = afterStart(there(afterStart(IN[phase].record)));
      expect(twice).toMatchObject({ boots: 2, failed: [] });
      const thrice = afterStart(there(twice));
      expect(thrice).toMatchObject({
        active: 'factory',
        boots: 0,
        failed: [{ deployment: 'd1', error: expect.stringMatching(/^update\/crash/) }],
      });
      expect(thrice.trial ?? thrice.current).toBeUndefined();
    },
  );

  it('of a gateway that crashed while it fetched nothing is held against the update', () => {
    for (const phase of ['fetch', 'verify'] as const) {
      let { record } = IN[phase];
      for (let boot = 0; boot < 5; boot++) record = afterStart(record);
      expect(record).toMatchObject({ boots: 0, failed: [], current: { wanted: FIRST } });
    }
  });

  it('a bundle that cannot be proved gives way to the one before it, and that to the factory’s', () => {
    const second = wanted(2);
    const both: UpdateRecord = { ...FACTORY_RECORD, active: 'b', slots: { a: slotOf(FIRST), b: slotOf(second) } };
    const first = afterUnproved(both, 'update/bundle: spoilt');
    expect(first).toMatchObject({ active: 'a', slots: { a: slotOf(FIRST) }, failed: [{ deployment: 'd2' }] });
    const factory = afterUnproved(first, 'update/bundle: spoilt');
    expect(factory).toMatchObject({ active: 'factory', failed: [{ deployment: 'd2' }, { deployment: 'd1' }] });
    expect(() => afterUnproved(factory, 'x')).toThrow();
  });

  it('a bundle that could not be started gives way too, and is installed anew with the next timestamp', () => {
    for (const record of [IN.active.record, IN.confirmed.record]) {
      const without = afterUnstarted(record);
      expect(without).toMatchObject({ active: 'factory', slots: {}, failed: [] });
      const { machine } = startMachine(without, RUNNING);
      expect(run(machine, { kind: 'timestamp' }, { kind: 'trusted', wanted: [FIRST] }).effects).toMatchObject([
        { kind: 'fetch', wanted: FIRST },
      ]);
    }
  });

  it('what is on trial goes on being watched', () => {
    expect(startMachine(IN.active.record, RUNNING)).toMatchObject({
      machine: { phase: 'active' },
      effects: [{ kind: 'watch' }, { kind: 'collect' }],
    });
  });
});

describe('the record', () => {
  it('keeps objects of both slots, of adapters in use and on trial, and of what is under way', () => {
    const adapter = { deployment: 'x', number: 1, digest: hex('a'), base: hex('b') };
    const record: UpdateRecord = {
      ...FACTORY_RECORD,
      slots: { a: { ...slotOf(FIRST), objects: [hex('1'), hex('2')] } },
      adapters: { s: adapter },
      trial: { kind: 'adapter', deployment: 'x', stream: 's', previous: { ...adapter, digest: hex('3') } },
      current: { wanted: wanted(4), spentBytes: 0, probing: false },
    };
    expect([...neededObjects(record)].sort()).toEqual([hex('1'), hex('2'), hex('3'), hex('4'), hex('a')]);
  });

  it.each([
    ['', 'no JSON'],
    ['{"formatVersion":2}', 'another version'],
    [encodeRecord({ ...FACTORY_RECORD, active: 'a' }), 'an active slot with nothing in it'],
  ])('of %j is none', (text) => expect(decodeRecord(text)).toBeUndefined());
});

describe('the refusals', () => {
  it('stand in the README as they are in the program', () => {
    const readme = readFileSync(new URL('../../../runtime/update/README.md', import.meta.url), 'utf8');
    const documented = [...readme.matchAll(/^\| `(update\/[a-z-]+)` \| (yes|no) \| (.+) \|$/gm)].map(([, code, again, meaning]) => [
      code,
      { final: again === 'no', meaning },
    ]);
    expect(Object.fromEntries(documented)).toEqual(UPDATE_REFUSALS);
  });
});
