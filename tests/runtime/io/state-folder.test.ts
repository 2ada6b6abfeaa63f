import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALARM_STATES } from '../../../runtime/contracts/alarm-state.ts';
import { decodeAlarms, encodeAlarms, type KeptAlarm } from '../../../runtime/decide/alarm-states.ts';
import { AlarmStore } from '../../../runtime/io/alarm-store.ts';
import { ConfigurationRefusal } from '../../../runtime/io/configuration.ts';
import { lockFolder } from '../../../runtime/io/folder-lock.ts';

const newFolder = () => mkdtemp(join(tmpdir(), 'tremolo-state-'));

describe('the lock of a state folder', () => {
  it('is held by one at a time, however many come at once', async () => {
    const folder = await newFolder();
    const tries = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)));
    const held = tries.filter((one) => one.status === 'fulfilled');
    expect(held).toHaveLength(1);
    for (const one of tries) if (one.status === 'rejected') expect(one.reason).toBeInstanceOf(ConfigurationRefusal);
    await held[0].value();
    await (await lockFolder(folder))();
    expect(await readdir(folder)).toEqual([]);
  });

  it('of a process that is gone is taken over, also where another has its number by now, and where a crash left half a file', async () => {
    const child = spawn(process.execPath, ['-e', '']);
    await new Promise((resolve) => child.once('exit', resolve));
    const left = [{ pid: child.pid }, ...(process.platform === 'linux' ? [{ pid: process.pid, start: '1' }] : [])];
    for (const text of [...left.map((one) => JSON.stringify(one)), '{"pid":', '']) {
      const folder = await newFolder();
      await writeFile(join(folder, 'lock'), text);
      const unlock = await lockFolder(folder);
      expect(JSON.parse(await readFile(join(folder, 'lock'), 'utf8'))).toMatchObject({ pid: process.pid });
      await unlock();
    }
  });
});

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
