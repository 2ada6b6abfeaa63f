import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALARM_STATES } from '../../../runtime/contracts/alarm-state.ts';
import { decodeAlarms, encodeAlarms, type KeptAlarm } from '../../../runtime/decide/alarm-states.ts';
import { AlarmStore } from '../../../runtime/io/alarm-store.ts';

const newFolder = () => mkdtemp(join(tmpdir(), 'tremolo-state-'));

describe('the store of alarms', () => {
  const alarms = fc
    .dictionary(
      fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/),
      fc.record({ alarm: fc.constantFrom(...ALARM_STATES), raised: fc.boolean() }),
    )
    .map((all) => new Map<string, KeptAlarm>(Object.entries(all)));

  it('gives back what it was given', () => {
    fc.assert(
      fc.property(alarms, (given) => {
        expect(decodeAlarms(encodeAlarms(given))).toEqual(given);
      }),
    );
  });

  it('writes what has changed, the last of several at once too, and refuses what it cannot read', async () => {
    const path = join(await newFolder(), 'state', 'alarms.json');
    const store = new AlarmStore(path);
    expect(await store.read()).toEqual(new Map());
    const one = new Map<string, KeptAlarm>([['a', { alarm: 'shelved', raised: true }]]);
    const two = new Map<string, KeptAlarm>([...one, ['b', { alarm: 'unacknowledged', raised: true }]]);
    await Promise.all([store.save(one), store.save(two)]);
    await store.save(two);
    expect(await new AlarmStore(path).read()).toEqual(two);
    for (const text of ['', '{"formatVersion":2,"streams":{}}', '{"formatVersion":1,"streams":{"a":{"alarm":"loud","raised":true}}}']) {
      await writeFile(path, text);
      await expect(new AlarmStore(path).read()).rejects.toThrow();
    }
  });
});
